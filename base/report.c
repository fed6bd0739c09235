#include "base/report.h"

#include "base/error.h"

#include <stdarg.h>
#include <stdatomic.h>

static qs_log_handler log_handler;
static void *log_user;
static qs_event_handler event_handler;
static void *event_user;
static atomic_int stop_flag;

void qs_log_set_handler(qs_log_handler handler, void *user)
{
    log_handler = handler;
    log_user = user;
}

void qs_log(qs_log_level level, const char *format, ...)
{
    if (!log_handler)
        return;
    va_list args;
    va_start(args, format);
    g_autofree char *text = g_strdup_vprintf(format, args);
    va_end(args);
    log_handler(log_user, level, text);
}

void qs_event_set_handler(qs_event_handler handler, void *user)
{
    event_handler = handler;
    event_user = user;
}

void qs_event(const char *event, const char *format, ...)
{
    if (!event_handler)
        return;
    va_list args;
    va_start(args, format);
    g_autofree char *members = g_strdup_vprintf(format, args);
    va_end(args);
    event_handler(event_user, event, members);
}

void qs_progress_update(const qs_progress *progress, const char *stage, int64_t done, int64_t total,
                        const char *detail)
{
    if (progress && progress->update)
        progress->update(progress->user, stage, done, total, detail);
}

void qs_stop_request(void)
{
    atomic_store(&stop_flag, 1);
}

bool qs_stop_requested(void)
{
    return atomic_load(&stop_flag) != 0;
}

void qs_stop_clear(void)
{
    atomic_store(&stop_flag, 0);
}

bool qs_stop_check(GError **error)
{
    if (!qs_stop_requested())
        return true;
    g_set_error_literal(error, QS_ERROR, QS_ERROR_STOPPED,
                        "stopped on request; what was done is kept, the same command goes on");
    return false;
}
