/* See http.h. libmicrohttpd runs a thread a connection, so that an answer may take its time. Its
 * parser for forms, TLS, ranges and upgrades are not used. A request is taken over as it came: its
 * address is not decoded, and every header that the guard looks at is counted, since two Hosts are
 * an attack. */
#include "view/http.h"

#include "base/error.h"

#include <microhttpd.h>

#include <arpa/inet.h>
#include <errno.h>
#include <string.h>

enum {
    HEADERS_BYTES = 32 << 10,
    IDLE_S = 30,
    BODY_BYTES = 64 << 20,
};

struct vw_http {
    struct MHD_Daemon *daemon;
    vw_service *service;
    const vw_guard *guard;
};

/* One request while it is being read. */
typedef struct {
    char *target;
    GByteArray *body;
    bool begun;
} exchange;

static void *on_target(void *user, const char *target, struct MHD_Connection *connection)
{
    (void)user, (void)connection;
    exchange *e = g_new0(exchange, 1);
    e->target = g_strdup(target);
    return e;
}

static void on_completed(void *user, struct MHD_Connection *connection, void **state,
                         enum MHD_RequestTerminationCode why)
{
    (void)user, (void)connection, (void)why;
    exchange *e = *state;
    if (!e)
        return;
    g_free(e->target);
    if (e->body)
        g_byte_array_unref(e->body);
    g_free(e);
    *state = NULL;
}

static size_t leave_escaped(void *user, struct MHD_Connection *connection, char *text)
{
    (void)user, (void)connection;
    return strlen(text);
}

static void on_log(void *user, const char *format, va_list args) G_GNUC_PRINTF(2, 0);
static void on_log(void *user, const char *format, va_list args)
{
    (void)user, (void)format, (void)args; /* what clients do wrong concerns nobody */
}

static enum MHD_Result on_header(void *user, enum MHD_ValueKind kind, const char *name,
                                 const char *value)
{
    (void)kind;
    vw_request *r = user;
    const struct {
        const char *name;
        vw_header *header;
    } wanted[] = {{"Host", &r->host},
                  {"Origin", &r->origin},
                  {"Sec-Fetch-Site", &r->fetch_site},
                  {"X-Quadslide", &r->own},
                  {"If-Match", &r->if_match}};
    for (size_t i = 0; i < G_N_ELEMENTS(wanted); i++)
        if (!g_ascii_strcasecmp(name, wanted[i].name)) {
            wanted[i].header->n++;
            wanted[i].header->value = value ? value : "";
        }
    return MHD_YES;
}

static vw_method method_of(const char *name)
{
    return !strcmp(name, "GET")    ? VW_GET
           : !strcmp(name, "PUT")  ? VW_PUT
           : !strcmp(name, "POST") ? VW_POST
                                   : VW_OTHER;
}

/* ---- going out ------------------------------------------------------------------------------- */
static void add_headers(struct MHD_Response *response, const vw_answer *answer)
{
    static const char *const always[][2] = {
        {"Content-Security-Policy",
         "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
         "img-src 'self' blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"},
        {"X-Content-Type-Options", "nosniff"},
        {"Referrer-Policy", "no-referrer"},
        {"Cross-Origin-Resource-Policy", "same-origin"},
        {"Cross-Origin-Opener-Policy", "same-origin"},
    };
    for (size_t i = 0; i < G_N_ELEMENTS(always); i++)
        MHD_add_response_header(response, always[i][0], always[i][1]);
    MHD_add_response_header(response, "Cache-Control",
                            answer->keep && answer->status == 200 ? "private, max-age=3600"
                                                                  : "no-store");
    if (answer->type)
        MHD_add_response_header(response, "Content-Type", answer->type);
    if (answer->gzip)
        MHD_add_response_header(response, "Content-Encoding", "gzip");
    if (answer->etag)
        MHD_add_response_header(response, "ETag", answer->etag);
}

static void free_bytes(void *bytes)
{
    g_bytes_unref(bytes);
}

/* Takes the answer's body. */
static enum MHD_Result send_answer(struct MHD_Connection *connection, vw_answer *answer)
{
    gsize n = 0;
    GBytes *body = answer->body ? g_steal_pointer(&answer->body) : g_bytes_new_static("", 0);
    const void *data = g_bytes_get_data(body, &n);
    /* The library's pointer is not const; it does not write to it. */
    struct MHD_Response *response = MHD_create_response_from_buffer_with_free_callback_cls(
        n, (void *)(guintptr)data, free_bytes, body);
    if (!response) {
        g_bytes_unref(body);
        return MHD_NO;
    }
    add_headers(response, answer);
    enum MHD_Result sent = MHD_queue_response(connection, answer->status, response);
    MHD_destroy_response(response);
    vw_answer_clear(answer);
    return sent;
}

static enum MHD_Result refuse(struct MHD_Connection *connection, unsigned status)
{
    vw_answer answer = {0};
    vw_answer_fail(&answer, status, NULL);
    return send_answer(connection, &answer);
}

/* ---- coming in ------------------------------------------------------------------------------- */
/* Called when the headers are there, for each piece of the body, and once more at its end. */
static enum MHD_Result on_request(void *user, struct MHD_Connection *connection, const char *url,
                                  const char *method, const char *version, const char *piece,
                                  size_t *n_piece, void **state)
{
    (void)url, (void)version;
    vw_http *http = user;
    exchange *e = *state;
    if (!e)
        return MHD_NO;
    vw_request request = {.method = method_of(method), .target = e->target};
    MHD_get_connection_values(connection, MHD_HEADER_KIND, on_header, &request);
    if (!e->begun) {
        const char *rest;
        e->begun = true;
        unsigned refused = vw_guard_admit(http->guard, &request, &rest);
        return refused ? refuse(connection, refused) : MHD_YES;
    }
    if (*n_piece > 0) {
        if (!e->body)
            e->body = g_byte_array_new();
        if (request.method == VW_GET || e->body->len + *n_piece > BODY_BYTES)
            return MHD_NO;
        g_byte_array_append(e->body, (const guint8 *)piece, (guint)*n_piece);
        *n_piece = 0;
        return MHD_YES;
    }
    request.body = e->body ? e->body->data : NULL;
    request.n_body = e->body ? e->body->len : 0;
    vw_answer answer;
    vw_service_answer(http->service, &request, &answer);
    return send_answer(connection, &answer);
}

/* ---- the daemon ------------------------------------------------------------------------------ */
static int bound_port(struct MHD_Daemon *daemon)
{
    const union MHD_DaemonInfo *info = MHD_get_daemon_info(daemon, MHD_DAEMON_INFO_BIND_PORT);
    return info ? info->port : 0;
}

vw_http *vw_http_start(vw_service *service, vw_guard *guard, const vw_http_options *options,
                       GError **error)
{
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons((uint16_t)options->port),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    vw_http *http = g_new0(vw_http, 1);
    http->service = service;
    http->guard = guard;
    errno = 0;
    http->daemon = MHD_start_daemon(
        MHD_USE_INTERNAL_POLLING_THREAD | MHD_USE_THREAD_PER_CONNECTION | MHD_USE_ERROR_LOG,
        (uint16_t)options->port, NULL, NULL, on_request, http, MHD_OPTION_EXTERNAL_LOGGER, on_log,
        NULL, MHD_OPTION_SOCK_ADDR, &address, MHD_OPTION_CONNECTION_LIMIT,
        (unsigned)VW_CONNECTIONS_MAX, MHD_OPTION_CONNECTION_TIMEOUT,
        (unsigned)(options->idle_s ? options->idle_s : IDLE_S), MHD_OPTION_CONNECTION_MEMORY_LIMIT,
        (size_t)HEADERS_BYTES, MHD_OPTION_STRICT_FOR_CLIENT, 1, MHD_OPTION_URI_LOG_CALLBACK,
        on_target, NULL, MHD_OPTION_UNESCAPE_CALLBACK, leave_escaped, NULL,
        MHD_OPTION_NOTIFY_COMPLETED, on_completed, NULL, MHD_OPTION_END);
    if (http->daemon) {
        guard->port = options->port ? options->port : bound_port(http->daemon);
        return http;
    }
    qs_set_error_errno(error, errno ? errno : EADDRINUSE,
                       "127.0.0.1, port %d cannot be listened on", options->port);
    g_free(http);
    return NULL;
}

void vw_http_stop(vw_http *http)
{
    if (!http)
        return;
    MHD_stop_daemon(http->daemon);
    g_free(http);
}
