/* Any bytes as the address of a request, through the guard and the route: what is let in holds only
 * numbers in their ranges and words of the tables, and is let in again. */
#include "tests/fuzz/fuzz.h"
#include "view/guard.h"
#include "view/route.h"

#include <string.h>

static const char token[] = "0123456789abcdef0123456789abcdef";

static void check(const vw_route *route)
{
    if (route->slide < 0 || route->model < 0 || route->run < 0 || route->level < 0 || route->x < 0 || route->y < 0 ||
        route->x > 999999999 || route->y > 999999999 || (int)route->plane >= VW_PLANES)
        abort();
    if (strchr(route->name, '/') || route->name[0] == '.' || strlen(route->name) > 31)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    vw_guard guard = {.port = 8000};
    memcpy(guard.token, token, sizeof token);
    vw_method method = n ? (vw_method)(data[0] % 4) : VW_GET;
    /* With the token in front, so that fuzzing goes on behind the guard; without it, to the guard.
     */
    for (int behind = 0; behind < 2; behind++) {
        g_autofree char *bytes = g_strndup((const char *)data + (n > 0), n - (n > 0));
        g_autofree char *target =
            behind ? g_strdup_printf("/%s/%s", token, bytes) : g_strdup(bytes);
        vw_request request = {.method = method,
                              .target = target,
                              .host = {"127.0.0.1:8000", 1},
                              .origin = {"http://127.0.0.1:8000", 1},
                              .own = {"1", 1}};
        const char *rest = NULL;
        vw_route route;
        if (vw_guard_admit(&guard, &request, &rest) == 0) {
            if (strstr(target, "..") || strchr(target, '%'))
                abort();
            if (vw_route_parse(rest, method, &route) == 0)
                check(&route);
        }
    }
    return 0;
}
