/* See guard.h. Rules are asked in the order of the table; the first that is broken answers.
 *
 * 1. target  only what our addresses consist of: no escapes, no "..", no odd bytes
 * 2. host    exactly one Host, ours: a foreign name that resolves to 127.0.0.1 (DNS rebinding) is
 * not
 * 3. origin  none, or ours
 * 4. site    Sec-Fetch-Site, where a browser says it: same-origin, or none (typed by the user); the
 *            page itself may be come to from anywhere that knows the token
 * 5. token   compared in constant time
 * 6. method  GET, PUT and POST
 * 7. write   PUT and POST need our Origin and a header of our own, which no form can send */
#include "view/guard.h"

#include "base/error.h"

#include <sys/random.h>

#include <errno.h>
#include <string.h>

enum { TARGET_MAX = 512 };

static const char *const hosts[] = {"127.0.0.1", "localhost"};

static bool is_ours(const vw_guard *guard, const char *value, const char *scheme)
{
    for (size_t i = 0; value && i < G_N_ELEMENTS(hosts); i++) {
        g_autofree char *want = g_strdup_printf("%s%s:%d", scheme, hosts[i], guard->port);
        if (!strcmp(value, want))
            return true;
    }
    return false;
}

static bool target_holds(const vw_guard *guard, const vw_request *r)
{
    (void)guard;
    size_t n = r->target ? strnlen(r->target, TARGET_MAX + 1) : 0;
    if (n == 0 || n > TARGET_MAX || r->target[0] != '/')
        return false;
    for (size_t i = 0; i < n; i++)
        if (!g_ascii_isalnum(r->target[i]) && !strchr("/?&=._-", r->target[i]))
            return false;
    return !strstr(r->target, "..") && !strstr(r->target, "//");
}

static bool host_holds(const vw_guard *guard, const vw_request *r)
{
    return r->host.n == 1 && is_ours(guard, r->host.value, "");
}

static bool origin_holds(const vw_guard *guard, const vw_request *r)
{
    return r->origin.n == 0 || (r->origin.n == 1 && is_ours(guard, r->origin.value, "http://"));
}

/* The page alone may be come to from elsewhere: the file that starts the browser is such a place.
 */
static bool is_page(const vw_request *r)
{
    return r->method == VW_GET && strlen(r->target) == VW_TOKEN_LETTERS + 2;
}

static bool site_holds(const vw_guard *guard, const vw_request *r)
{
    (void)guard;
    const char *site = r->fetch_site.value;
    if (r->fetch_site.n == 0)
        return true;
    return r->fetch_site.n == 1 && site &&
           (!strcmp(site, "same-origin") || !strcmp(site, "none") || is_page(r));
}

static bool token_holds(const vw_guard *guard, const vw_request *r)
{
    const char *given = r->target[0] == '/' ? r->target + 1 : r->target;
    if (strnlen(given, VW_TOKEN_LETTERS + 1) < VW_TOKEN_LETTERS + 1 ||
        given[VW_TOKEN_LETTERS] != '/')
        return false;
    volatile unsigned char differs = 0;
    for (int i = 0; i < VW_TOKEN_LETTERS; i++)
        differs = (unsigned char)(differs | (given[i] ^ guard->token[i]));
    return differs == 0;
}

static bool method_holds(const vw_guard *guard, const vw_request *r)
{
    (void)guard;
    return r->method != VW_OTHER;
}

static bool write_holds(const vw_guard *guard, const vw_request *r)
{
    return r->method == VW_GET || (r->origin.n == 1 && is_ours(guard, r->origin.value, "http://") &&
                                   r->own.n == 1 && r->own.value && !strcmp(r->own.value, "1"));
}

static const struct {
    const char *name;
    bool (*holds)(const vw_guard *guard, const vw_request *request);
    unsigned status;
} rules[VW_GUARD_RULES] = {
    {"target", target_holds, 400}, {"host", host_holds, 403},   {"origin", origin_holds, 403},
    {"site", site_holds, 403},     {"token", token_holds, 404}, {"method", method_holds, 405},
    {"write", write_holds, 403},
};

unsigned vw_guard_admit(const vw_guard *guard, const vw_request *request, const char **rest)
{
    for (int i = 0; i < VW_GUARD_RULES; i++)
        if (!(guard->without >> i & 1) && !rules[i].holds(guard, request))
            return rules[i].status;
    const char *after = strchr(request->target + 1, '/');
    *rest = after ? after + 1 : "";
    return 0;
}

const char *vw_guard_rule_name(int rule)
{
    return rules[rule].name;
}

bool vw_guard_init(vw_guard *guard, GError **error)
{
    uint8_t bytes[VW_TOKEN_LETTERS / 2];
    *guard = (vw_guard){0};
    if (getrandom(bytes, sizeof bytes, 0) != (ssize_t)sizeof bytes) {
        qs_set_error_errno(error, errno, "getrandom");
        return false;
    }
    for (size_t i = 0; i < sizeof bytes; i++)
        g_snprintf(guard->token + 2 * i, 3, "%02x", bytes[i]);
    return true;
}
