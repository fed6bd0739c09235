/* How library code speaks without printing: log lines, progress and the stop request.
 *
 * The command line installs the handlers; with none installed everything is silent. All functions
 * are thread-safe. The stop flag is one per process, because the signal that sets it is. */
#ifndef QS_BASE_REPORT_H
#define QS_BASE_REPORT_H

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

typedef enum { QS_LOG_DEBUG, QS_LOG_INFO, QS_LOG_WARNING } qs_log_level;

typedef void (*qs_log_handler)(void *user, qs_log_level level, const char *text);

/* Installs the process's log handler; NULL silences. Call before threads start. */
void qs_log_set_handler(qs_log_handler handler, void *user);
void qs_log(qs_log_level level, const char *format, ...) G_GNUC_PRINTF(2, 3);
#define qs_info(...) qs_log(QS_LOG_INFO, __VA_ARGS__)
#define qs_warn(...) qs_log(QS_LOG_WARNING, __VA_ARGS__)
#define qs_debug(...) qs_log(QS_LOG_DEBUG, __VA_ARGS__)

/* Something happened that a program may want to know: `members` are JSON members without braces,
 * "\"kept\":12,\"seconds\":1.500", texts in them through qs_json_escape. */
typedef void (*qs_event_handler)(void *user, const char *event, const char *members);
/* Installs the process's event handler; NULL: events go nowhere. Call before threads start. */
void qs_event_set_handler(qs_event_handler handler, void *user);
void qs_event(const char *event, const char *format, ...) G_GNUC_PRINTF(2, 3);

/* A progress sink handed down to long work. `update` may be called from any thread, often; the
 * sink limits its own rate. total <= 0: unknown. detail may be NULL. A NULL sink is allowed. */
typedef struct qs_progress {
    void (*update)(void *user, const char *stage, int64_t done, int64_t total, const char *detail);
    void *user;
} qs_progress;

void qs_progress_update(const qs_progress *progress, const char *stage, int64_t done, int64_t total,
                        const char *detail);

/* Asks the process to finish its transaction and stop. Async-signal-safe. */
void qs_stop_request(void);
bool qs_stop_requested(void);
void qs_stop_clear(void);
/* False with QS_ERROR_STOPPED when a stop was requested: `if (!qs_stop_check(error)) goto out;` */
bool qs_stop_check(GError **error);

#endif
