/* The server by raw sockets: what a browser would never send. Every case says what must come back;
 * afterwards the server still answers, and nothing in the folder has changed. */
#include "tests/view/world.h"
#include "view/http.h"

#include <arpa/inet.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static int connect_to(int port)
{
    int s = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in a = {.sin_family = AF_INET,
                            .sin_port = htons((uint16_t)port),
                            .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct timeval wait = {.tv_sec = 10};
    g_assert_cmpint(connect(s, (struct sockaddr *)&a, sizeof a), ==, 0);
    setsockopt(s, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof wait);
    return s;
}

/* Sends n bytes, as many as the server takes; what came back until it closed, at most 64 KiB. */
static char *talk(int port, const char *bytes, size_t n)
{
    int s = connect_to(port);
    for (size_t sent = 0; sent < n;) {
        ssize_t k = send(s, bytes + sent, n - sent, MSG_NOSIGNAL);
        if (k <= 0)
            break;
        sent += (size_t)k;
    }
    shutdown(s, SHUT_WR);
    char *back = g_malloc0(1 << 16);
    size_t got = 0;
    for (ssize_t k; got < (1 << 16) - 1 && (k = recv(s, back + got, (1 << 16) - 1 - got, 0)) > 0;)
        got += (size_t)k;
    close(s);
    return back;
}

static int status_of(const char *answer)
{
    return g_str_has_prefix(answer, "HTTP/1.1 ") ? atoi(answer + 9) : 0;
}

/* %T is the token, %H the host. */
static char *expand(const world *w, const char *text)
{
    g_auto(GStrv) parts = g_strsplit(text, "%T", -1);
    g_autofree char *with_token = g_strjoinv(w->guard.token, parts);
    g_auto(GStrv) again = g_strsplit(with_token, "%H", -1);
    return g_strjoinv(w->host, again);
}

static const struct {
    const char *what, *request;
    int status; /* 0: closed without an answer, or 400 */
} cases[] = {
    {"the page", "GET /%T/ HTTP/1.1\r\nHost: %H\r\nConnection: close\r\n\r\n", 200},
    {"no token", "GET / HTTP/1.1\r\nHost: %H\r\nConnection: close\r\n\r\n", 404},
    {"another token",
     "GET /0123456789abcdef0123456789abcdef/ HTTP/1.1\r\nHost: %H\r\nConnection: close\r\n\r\n",
     404},
    {"no Host", "GET /%T/ HTTP/1.1\r\nConnection: close\r\n\r\n", 0},
    {"HTTP/1.0 without Host", "GET /%T/ HTTP/1.0\r\n\r\n", 403},
    {"two Hosts",
     "GET /%T/ HTTP/1.1\r\nHost: %H\r\nHost: evil.example\r\nConnection: close\r\n\r\n", 403},
    {"two Hosts, ours last",
     "GET /%T/ HTTP/1.1\r\nHost: evil.example\r\nhost: %H\r\nConnection: close\r\n\r\n", 403},
    {"a foreign Host", "GET /%T/ HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n", 403},
    {"a foreign Host in the address",
     "GET http://evil.example/%T/ HTTP/1.1\r\nHost: %H\r\nConnection: close\r\n\r\n", 400},
    {"a foreign Origin",
     "GET /%T/ HTTP/1.1\r\nHost: %H\r\nOrigin: http://evil.example\r\nConnection: close\r\n\r\n",
     403},
    {"cross-site",
     "GET /%T/api/shown HTTP/1.1\r\nHost: %H\r\nSec-Fetch-Site: cross-site\r\nConnection: "
     "close\r\n\r\n",
     403},
    {"dots", "GET /%T/web/../../etc/passwd HTTP/1.1\r\nHost: %H\r\nConnection: close\r\n\r\n", 400},
    {"escaped dots", "GET /%T/web/%2e%2e/x HTTP/1.1\r\nHost: %H\r\nConnection: close\r\n\r\n", 400},
    {"an escaped letter", "GET /%T/%77eb/app.js HTTP/1.1\r\nHost: %H\r\nConnection: close\r\n\r\n",
     400},
    {"an escaped NUL", "GET /%T/web/app.js%00 HTTP/1.1\r\nHost: %H\r\nConnection: close\r\n\r\n",
     400},
    {"OPTIONS of another page",
     "OPTIONS /%T/ HTTP/1.1\r\nHost: %H\r\nOrigin: http://evil.example\r\nConnection: "
     "close\r\n\r\n",
     403},
    {"TRACE", "TRACE /%T/ HTTP/1.1\r\nHost: %H\r\nConnection: close\r\n\r\n", 405},
    {"a form's POST",
     "POST /%T/api/shown HTTP/1.1\r\nHost: %H\r\nContent-Type: "
     "application/x-www-form-urlencoded\r\nContent-Length: 3\r\nConnection: close\r\n\r\na=b",
     403},
    {"a PUT of our own where there is nothing to write",
     "PUT /%T/api/shown HTTP/1.1\r\nHost: %H\r\nOrigin: http://%H\r\nX-Quadslide: "
     "1\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}",
     405},
    {"rubbish", "\x16\x03\x01\x02rubbish\r\n\r\n", 0},
    {"half a request", "GET /%T/ HTTP/1.1\r\nHost: ", 0},
};

typedef struct {
    world w;
    vw_http *http;
} server;

static void server_start(server *s, int idle_s)
{
    GError *error = NULL;
    world_init(&s->w, 1);
    vw_http_options options = {.idle_s = idle_s};
    s->http = vw_http_start(s->w.service, &s->w.guard, &options, &error);
    g_assert_no_error(error);
    g_free(s->w.host);
    s->w.host = g_strdup_printf("127.0.0.1:%d", s->w.guard.port);
}

static void server_stop(server *s)
{
    vw_http_stop(s->http);
    world_clear(&s->w);
}

static void still_answers(server *s)
{
    g_autofree char *request = expand(&s->w, cases[0].request);
    g_autofree char *answer = talk(s->w.guard.port, request, strlen(request));
    g_assert_cmpint(status_of(answer), ==, 200);
}

/* Names and sizes of what is in the folder. */
static char *folder(const char *dir)
{
    g_autofree char *command = g_strdup_printf("find %s -printf '%%p %%s %%T@\\n' | sort", dir);
    char *out = NULL;
    char sh[] = "sh", c[] = "-c";
    char *arguments[] = {sh, c, command, NULL};
    g_assert_true(g_spawn_sync(NULL, arguments, NULL, G_SPAWN_SEARCH_PATH, NULL, NULL, &out, NULL,
                               NULL, NULL));
    return out;
}

static void test_requests(void)
{
    server s;
    server_start(&s, 0);
    g_autofree char *before = folder(s.w.dir);
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autofree char *request = expand(&s.w, cases[i].request);
        g_autofree char *answer = talk(s.w.guard.port, request, strlen(request));
        int status = status_of(answer);
        bool as_said = cases[i].status ? status == cases[i].status : status == 0 || status == 400;
        if (!as_said)
            g_error("%s: %d, not %d", cases[i].what, status, cases[i].status);
        g_assert_null(strstr(answer, "Access-Control"));
        g_assert_null(strstr(answer, "Set-Cookie"));
        g_assert_null(strstr(answer, "root:"));
    }
    still_answers(&s);
    g_autofree char *after = folder(s.w.dir);
    g_assert_cmpstr(before, ==, after);
    server_stop(&s);
}

static void test_headers(void)
{
    static const char *const wanted[] = {
        "default-src 'none'; script-src 'self'",     "frame-ancestors 'none'",
        "X-Content-Type-Options: nosniff",           "Referrer-Policy: no-referrer",
        "Cross-Origin-Resource-Policy: same-origin", "Cross-Origin-Opener-Policy: same-origin"};
    static const char *const asked[] = {"", "api/shown", "tile/0/0/0/0", "nothing"};
    server s;
    server_start(&s, 0);
    for (size_t i = 0; i < G_N_ELEMENTS(asked); i++) {
        g_autofree char *request =
            g_strdup_printf("GET /%s/%s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n",
                            s.w.guard.token, asked[i], s.w.host);
        g_autofree char *answer = talk(s.w.guard.port, request, strlen(request));
        for (size_t k = 0; k < G_N_ELEMENTS(wanted); k++)
            if (!strstr(answer, wanted[k]))
                g_error("\"%s\" has no %s", asked[i], wanted[k]);
    }
    server_stop(&s);
}

/* A megabyte of address, of headers, of one header: refused or closed. A NUL ends the address for
 * the library: what is before it is what is asked for, here nothing. */
static void test_huge_and_odd(void)
{
    server s;
    server_start(&s, 0);
    g_autofree char *nul = g_strdup_printf("GET /%s/web/app?.js HTTP/1.1\r\nHost: %s\r\n\r\n",
                                           s.w.guard.token, s.w.host);
    size_t n = strlen(nul);
    *strchr(nul, '?') = '\0';
    g_autofree char *answer = talk(s.w.guard.port, nul, n);
    g_assert_cmpint(status_of(answer), !=, 200);
    still_answers(&s);
    for (int kind = 0; kind < 3; kind++) {
        GString *request = g_string_new(NULL);
        g_string_append_printf(request, "GET /%s/", s.w.guard.token);
        for (int i = 0; kind == 0 && i < 1 << 20; i++)
            g_string_append_c(request, 'a');
        g_string_append_printf(request, " HTTP/1.1\r\nHost: %s\r\n", s.w.host);
        for (int i = 0; kind == 1 && i < 40000; i++)
            g_string_append_printf(request, "X-%d: aaaaaaaaaaaaaaaaa\r\n", i);
        for (int i = 0; kind == 2 && i < 1 << 20; i++)
            g_string_append_c(request, i ? 'a' : 'X');
        g_string_append(request, "\r\n\r\n");
        g_autofree char *back = talk(s.w.guard.port, request->str, request->len);
        g_assert_cmpint(status_of(back), !=, 200);
        g_string_free(request, TRUE);
        still_answers(&s);
    }
    server_stop(&s);
}

/* More connections than there may be, none of which says anything: they are closed after a while,
 * and the page is served again. */
static void test_silent(void)
{
    server s;
    server_start(&s, 1);
    int sockets[VW_CONNECTIONS_MAX + 8];
    for (size_t i = 0; i < G_N_ELEMENTS(sockets); i++)
        sockets[i] = connect_to(s.w.guard.port);
    char byte;
    for (size_t i = 0; i < G_N_ELEMENTS(sockets); i++) {
        g_assert_cmpint(recv(sockets[i], &byte, 1, 0), <=, 0); /* closed, or reset */
        close(sockets[i]);
    }
    still_answers(&s);
    server_stop(&s);
}

/* The port that is taken is named; nothing listens on other addresses. */
static void test_port(void)
{
    server s;
    server_start(&s, 0);
    GError *error = NULL;
    vw_guard guard = s.w.guard;
    vw_http_options options = {.port = guard.port};
    g_assert_null(vw_http_start(s.w.service, &guard, &options, &error));
    g_assert_error(error, QS_ERROR, QS_ERROR_IO);
    g_autofree char *port = g_strdup_printf("%d", options.port);
    g_assert_nonnull(strstr(error->message, port));
    g_clear_error(&error);
    int other = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)options.port)};
    a.sin_addr.s_addr = htonl(0x7f000002); /* 127.0.0.2: this machine, another address */
    g_assert_cmpint(connect(other, (struct sockaddr *)&a, sizeof a), !=, 0);
    close(other);
    server_stop(&s);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/view/http/requests", test_requests);
    g_test_add_func("/view/http/headers", test_headers);
    g_test_add_func("/view/http/huge", test_huge_and_odd);
    g_test_add_func("/view/http/silent", test_silent);
    g_test_add_func("/view/http/port", test_port);
    return g_test_run();
}
