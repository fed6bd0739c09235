/* The viewer's rules without slides: who may ask (every rule taken out is noticed), which addresses
 * there are, the cache's limit, and that the newest waiter goes first. */
#include "view/cache.h"
#include "view/guard.h"
#include "view/route.h"
#include "view/turns.h"

#include <string.h>

static const char token[] = "0123456789abcdef0123456789abcdef";
static const char here[] = "/0123456789abcdef0123456789abcdef/";

/* ---- guard ----------------------------------------------------------------------------------- */
typedef struct {
    const char *what;
    const char *rule; /* that refuses it; NULL: let in */
    vw_method method;
    const char *after, *host, *origin, *site, *own; /* NULL: not there */
    int n_host, n_origin, n_site, n_own;            /* 0: once when there */
    const char *target;                             /* instead of here + after */
} guard_case;

#define OURS "127.0.0.1:8000"
#define OUR_ORIGIN "http://127.0.0.1:8000"
static const guard_case cases[] = {
    {.what = "the page, typed", .after = "", .host = OURS, .site = "none"},
    {.what = "the page, by localhost", .after = "", .host = "localhost:8000"},
    {.what = "the page, from the file that starts the browser",
     .after = "",
     .host = OURS,
     .site = "cross-site"},
    {.what = "a tile", .after = "tile/0/0/0/0?v=1f", .host = OURS, .site = "same-origin"},
    {.what = "a write of ours",
     .method = VW_PUT,
     .after = "x",
     .host = OURS,
     .origin = OUR_ORIGIN,
     .own = "1"},
    {"dots", "target", VW_GET, "web/../x", OURS, NULL, NULL, NULL, 0, 0, 0, 0, NULL},
    {"escaped dots", "target", VW_GET, "web/%2e%2e/x", OURS, NULL, NULL, NULL, 0, 0, 0, 0, NULL},
    {"a backslash", "target", VW_GET, "web\\x", OURS, NULL, NULL, NULL, 0, 0, 0, 0, NULL},
    {"two slashes", "target", VW_GET, "web//x", OURS, NULL, NULL, NULL, 0, 0, 0, 0, NULL},
    {"a byte above 127", "target", VW_GET, "web/\xc3\xa4", OURS, NULL, NULL, NULL, 0, 0, 0, 0,
     NULL},
    {"no Host", "host", VW_GET, "", NULL, NULL, NULL, NULL, 0, 0, 0, 0, NULL},
    {"two Hosts", "host", VW_GET, "", OURS, NULL, NULL, NULL, 2, 0, 0, 0, NULL},
    {"a foreign Host", "host", VW_GET, "", "evil.example:8000", NULL, NULL, NULL, 0, 0, 0, 0, NULL},
    {"another port", "host", VW_GET, "", "127.0.0.1:8001", NULL, NULL, NULL, 0, 0, 0, 0, NULL},
    {"a Host with more behind", "host", VW_GET, "", "127.0.0.1:80001", NULL, NULL, NULL, 0, 0, 0, 0,
     NULL},
    {"a foreign Origin", "origin", VW_GET, "", OURS, "http://evil.example", NULL, NULL, 0, 0, 0, 0,
     NULL},
    {"Origin null", "origin", VW_GET, "", OURS, "null", NULL, NULL, 0, 0, 0, 0, NULL},
    {"two Origins", "origin", VW_GET, "", OURS, OUR_ORIGIN, NULL, NULL, 0, 2, 0, 0, NULL},
    {"another site's picture", "site", VW_GET, "thumb/0", OURS, NULL, "cross-site", NULL, 0, 0, 0,
     0, NULL},
    {"another port's script", "site", VW_GET, "web/app.js", OURS, NULL, "same-site", NULL, 0, 0, 0,
     0, NULL},
    {"no token", "token", VW_GET, NULL, OURS, NULL, NULL, NULL, 0, 0, 0, 0, "/"},
    {"a short token", "token", VW_GET, NULL, OURS, NULL, NULL, NULL, 0, 0, 0, 0,
     "/0123456789abcdef/"},
    {"a wrong last letter", "token", VW_GET, NULL, OURS, NULL, NULL, NULL, 0, 0, 0, 0,
     "/0123456789abcdef0123456789abcdee/"},
    {"no slash behind", "token", VW_GET, NULL, OURS, NULL, NULL, NULL, 0, 0, 0, 0,
     "/0123456789abcdef0123456789abcdef"},
    {"DELETE", "method", VW_OTHER, "x", OURS, OUR_ORIGIN, NULL, "1", 0, 0, 0, 0, NULL},
    {"a form's POST", "write", VW_POST, "x", OURS, OUR_ORIGIN, NULL, NULL, 0, 0, 0, 0, NULL},
    {"a PUT without Origin", "write", VW_PUT, "x", OURS, NULL, NULL, "1", 0, 0, 0, 0, NULL},
    {"our header twice", "write", VW_PUT, "x", OURS, OUR_ORIGIN, NULL, "1", 0, 0, 0, 2, NULL},
};

static vw_header header(const char *value, int n)
{
    return (vw_header){value, value ? MAX(1, n) : 0};
}

static unsigned admit(const guard_case *c, unsigned without)
{
    vw_guard guard = {.port = 8000, .without = without};
    memcpy(guard.token, token, sizeof token);
    g_autofree char *target = c->target ? g_strdup(c->target) : g_strconcat(here, c->after, NULL);
    vw_request r = {.method = c->method,
                    .target = target,
                    .host = header(c->host, c->n_host),
                    .origin = header(c->origin, c->n_origin),
                    .fetch_site = header(c->site, c->n_site),
                    .own = header(c->own, c->n_own)};
    const char *rest = NULL;
    return vw_guard_admit(&guard, &r, &rest);
}

static void test_guard(void)
{
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++)
        if ((admit(&cases[i], 0) == 0) != (cases[i].rule == NULL))
            g_error("%s: %u", cases[i].what, admit(&cases[i], 0));
}

/* Without a rule, each case that it alone refuses comes through. */
static void test_guard_rules_matter(void)
{
    for (int rule = 0; rule < VW_GUARD_RULES; rule++) {
        int n = 0;
        for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
            if (g_strcmp0(cases[i].rule, vw_guard_rule_name(rule)) != 0)
                continue;
            n++;
            if (admit(&cases[i], 1U << rule) != 0)
                g_error("%s is refused without the rule %s too", cases[i].what,
                        vw_guard_rule_name(rule));
        }
        g_assert_cmpint(n, >, 0);
    }
}

static void test_token(void)
{
    vw_guard a, b;
    g_assert_true(vw_guard_init(&a, NULL) && vw_guard_init(&b, NULL));
    g_assert_cmpint(strlen(a.token), ==, VW_TOKEN_LETTERS);
    g_assert_cmpstr(a.token, !=, b.token);
}

/* ---- route ----------------------------------------------------------------------------------- */
static const struct {
    const char *rest;
    unsigned status;
    vw_route want;
} routes[] = {
    {"", 0, {.kind = VW_ROUTE_PAGE}},
    {"web/app.js", 0, {.kind = VW_ROUTE_WEB, .name = "app.js"}},
    {"api/shown", 0, {.kind = VW_ROUTE_SHOWN}},
    {"api/slides/12", 0, {.kind = VW_ROUTE_SLIDE, .slide = 12}},
    {"api/slides/3/at?x=10&y=999999999",
     0,
     {.kind = VW_ROUTE_AT, .slide = 3, .x = 10, .y = 999999999}},
    {"tile/1/2/3/4", 0, {.kind = VW_ROUTE_TILE, .slide = 1, .level = 2, .x = 3, .y = 4}},
    {"tile/1/2/3/4?v=0af", 0, {.kind = VW_ROUTE_TILE, .slide = 1, .level = 2, .x = 3, .y = 4}},
    {"thumb/0", 0, {.kind = VW_ROUTE_THUMB}},
    {"api/slides/1/accept/2?x=3&y=4", 405, {0}},
    {"api/slides/1/shape", 405, {0}},
    {"api/slides/1/shape?v=1", 404, {0}},
    {"api/worklist", 0, {.kind = VW_ROUTE_WORKLIST}},
    {"api/runs/2?from=99", 0, {.kind = VW_ROUTE_RUN, .run = 2, .x = 99}},
    {"api/runs/2/snapshots/60", 0, {.kind = VW_ROUTE_SNAPSHOT, .run = 2, .x = 60}},
    {"api/runs/2", 404, {0}},
    {"api/runs/2?from=-1", 404, {0}},
    {"api/runs/2/snapshots/..", 404, {0}},
    {"plane/1/error/2/3/4/5",
     0,
     {.kind = VW_ROUTE_PLANE,
      .plane = VW_PLANE_ERROR,
      .slide = 1,
      .model = 2,
      .level = 3,
      .x = 4,
      .y = 5}},
    {"plane/1/nothing/2/3/4/5", 404, {0}},
    {"plane/1/labels/2/3/4/5", 404, {0}},
    {"tile/1/2/3", 404, {0}},
    {"tile/1/2/3/4/", 404, {0}},
    {"tile/01/2/3/4", 404, {0}},
    {"tile/-1/2/3/4", 404, {0}},
    {"tile/+1/2/3/4", 404, {0}},
    {"tile/1/2/3/4294967296", 404, {0}},
    {"tile/1/2/3/4?v=", 404, {0}},
    {"tile/1/2/3/4?v=xyz", 404, {0}},
    {"tile/1/2/3/4?w=1", 404, {0}},
    {"api/shown?v=1", 404, {0}},
    {"api/slides/3/at?y=1&x=2", 404, {0}},
    {"api/slides/3/at?x=1", 404, {0}},
    {"api/slides/3/at?x=1&y=2&z=3", 404, {0}},
    {"web/", 404, {0}},
    {"web/.hidden", 404, {0}},
    {"web/a/b", 404, {0}},
    {"web/0123456789012345678901234567890123.js", 404, {0}},
    {"etc/passwd", 404, {0}},
};

static void test_route(void)
{
    for (size_t i = 0; i < G_N_ELEMENTS(routes); i++) {
        vw_route route;
        unsigned status = vw_route_parse(routes[i].rest, VW_GET, &route);
        const vw_route *w = &routes[i].want;
        if (status != routes[i].status)
            g_error("%s: %u", routes[i].rest, status);
        if (status)
            continue;
        if (route.kind != w->kind || route.plane != w->plane || route.slide != w->slide ||
            route.model != w->model || route.level != w->level || route.run != w->run ||
            route.x != w->x || route.y != w->y || strcmp(route.name, w->name))
            g_error("%s", routes[i].rest);
        g_assert_cmpuint(vw_route_parse(routes[i].rest, VW_PUT, &route), ==, 405);
    }
}

/* ---- cache and turns ------------------------------------------------------------------------- */
static void test_cache(void)
{
    vw_cache *cache = vw_cache_create(10000);
    GBytes *bytes = g_bytes_new_take(g_malloc0(1000), 1000);
    for (int i = 0; i < 50; i++) {
        g_autofree char *key = g_strdup_printf("%d", i);
        vw_cache_put(cache, key, bytes);
        g_assert_cmpuint(vw_cache_bytes(cache), <=, 10000);
        GBytes *first = vw_cache_get(cache, "0"); /* used all the time: stays */
        g_assert_true(first == bytes);
        g_bytes_unref(first);
    }
    g_assert_null(vw_cache_get(cache, "30"));
    GBytes *last = vw_cache_get(cache, "49");
    g_assert_true(last == bytes);
    g_bytes_unref(last);
    GBytes *large = g_bytes_new_take(g_malloc0(9000), 9000);
    vw_cache_put(cache, "large", large);
    g_assert_null(vw_cache_get(cache, "large"));
    g_bytes_unref(large);
    g_bytes_unref(bytes);
    vw_cache_destroy(cache);
}

typedef struct {
    vw_turns *turns;
    GString *order; /* written by who has the only turn */
    char name;
} runner;

static gpointer run(gpointer user)
{
    runner *r = user;
    vw_turns_take(r->turns);
    g_string_append_c(r->order, r->name);
    vw_turns_give(r->turns);
    return NULL;
}

static guint n_waiting(vw_turns *turns)
{
    g_mutex_lock(&turns->lock);
    guint n = g_slist_length(turns->waiting);
    g_mutex_unlock(&turns->lock);
    return n;
}

static void test_newest_first(void)
{
    vw_turns turns;
    vw_turns_init(&turns, 1);
    g_autoptr(GString) order = g_string_new(NULL);
    runner runners[4];
    GThread *threads[4];
    vw_turns_take(&turns);
    for (int i = 0; i < 4; i++) {
        runners[i] = (runner){&turns, order, (char)('a' + i)};
        threads[i] = g_thread_new("runner", run, &runners[i]);
        while (n_waiting(&turns) < (guint)i + 1)
            g_usleep(1000);
    }
    vw_turns_give(&turns);
    for (int i = 0; i < 4; i++)
        g_thread_join(threads[i]);
    g_assert_cmpstr(order->str, ==, "dcba");
    vw_turns_clear(&turns);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/view/guard", test_guard);
    g_test_add_func("/view/guard/rules_matter", test_guard_rules_matter);
    g_test_add_func("/view/guard/token", test_token);
    g_test_add_func("/view/route", test_route);
    g_test_add_func("/view/cache", test_cache);
    g_test_add_func("/view/turns", test_newest_first);
    return g_test_run();
}
