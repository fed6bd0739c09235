/* Errors: GError with the domain QS_ERROR. Library code never prints or exits; it fills a GError
 * whose message names the file, the value that was wrong and the way out. Context is prefixed on
 * the way up with g_prefix_error. */
#ifndef QS_BASE_ERROR_H
#define QS_BASE_ERROR_H

#include <glib.h>
#include <stdbool.h>

#define QS_ERROR (qs_error_quark())

typedef enum {
    QS_ERROR_ARG,         /* an option or argument has a value that cannot be used */
    QS_ERROR_IO,          /* the operating system refused (message carries strerror) */
    QS_ERROR_FORMAT,      /* a file's content is damaged or is not what it should be */
    QS_ERROR_UNSUPPORTED, /* a valid thing that this program does not do */
    QS_ERROR_MISMATCH,    /* two things that must agree do not (sizes, options of a run, hashes) */
    QS_ERROR_MEMORY,      /* a plan does not fit in memory */
    QS_ERROR_BUSY,        /* another process holds the lock */
    QS_ERROR_STOPPED,     /* the user asked to stop; what was committed is kept */
    QS_ERROR_INTERNAL,    /* a library call failed that should not; carries the call */
} qs_error_code;

GQuark qs_error_quark(void);

/* What a person can do about a full disk, a quota, a limit of the system: "; make room …". "" where
 * nothing is known. */
const char *qs_errno_way_out(int errno_value);

/* Sets *error with QS_ERROR_IO and ": <strerror(errno_value)><way out>" appended. */
void qs_set_error_errno(GError **error, int errno_value, const char *format, ...)
    G_GNUC_PRINTF(3, 4);

#endif
