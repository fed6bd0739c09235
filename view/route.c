/* See route.h. A pattern's letters stand for: S slide, M model, L level, X Y place (decimal numbers
 * of at most nine digits, no sign, no leading zero), R run, K a plane's name, N an embedded file's
 * name. A query is x=…&y=… or from=… where the table says so, or v=…, a content version that only keeps the browser's
 * copies apart. */
#include "view/route.h"

#include <string.h>

static const char *const plane_names[VW_PLANES] = {"label",  "prob",  "unc",   "truth", "annot",
                                                   "tissue", "cells", "error", "diff"};

typedef enum { QUERY_NONE, QUERY_VERSION, QUERY_PLACE, QUERY_FROM } query;

static const struct {
    const char *pattern;
    vw_route_kind kind;
    query query;
} table[] = {
    {"", VW_ROUTE_PAGE, QUERY_NONE},
    {"web/N", VW_ROUTE_WEB, QUERY_NONE},
    {"api/shown", VW_ROUTE_SHOWN, QUERY_NONE},
    {"api/worklist", VW_ROUTE_WORKLIST, QUERY_NONE},
    {"api/runs/R", VW_ROUTE_RUN, QUERY_FROM},
    {"api/runs/R/snapshots/X", VW_ROUTE_SNAPSHOT, QUERY_NONE},
    {"api/slides/S", VW_ROUTE_SLIDE, QUERY_NONE},
    {"api/slides/S/draft", VW_ROUTE_DRAFT, QUERY_NONE},
    {"api/slides/S/shape", VW_ROUTE_SHAPE, QUERY_NONE},
    {"api/slides/S/accept/M", VW_ROUTE_ACCEPT, QUERY_PLACE},
    {"api/slides/S/at", VW_ROUTE_AT, QUERY_PLACE},
    {"tile/S/L/X/Y", VW_ROUTE_TILE, QUERY_VERSION},
    {"thumb/S", VW_ROUTE_THUMB, QUERY_VERSION},
    {"plane/S/K/M/L/X/Y", VW_ROUTE_PLANE, QUERY_VERSION},
};

const char *vw_plane_name(vw_plane plane)
{
    return plane_names[plane];
}

static bool take_number(const char **at, int64_t *value)
{
    const char *p = *at;
    int64_t v = 0;
    int n = 0;
    for (; n < 10 && g_ascii_isdigit(*p); p++, n++)
        v = v * 10 + (*p - '0');
    if (n == 0 || n > 9 || (n > 1 && **at == '0'))
        return false;
    *value = v;
    *at = p;
    return true;
}

static size_t word(const char *at)
{
    return strcspn(at, "/?");
}

static bool take_plane(const char **at, vw_plane *plane)
{
    size_t n = word(*at);
    for (int k = 0; k < VW_PLANES; k++)
        if (strlen(plane_names[k]) == n && !strncmp(*at, plane_names[k], n)) {
            *plane = (vw_plane)k;
            *at += n;
            return true;
        }
    return false;
}

static bool take_name(const char **at, char name[32])
{
    size_t n = word(*at);
    if (n == 0 || n > 31 || (*at)[0] == '.')
        return false;
    for (size_t i = 0; i < n; i++)
        if (!g_ascii_isalnum((*at)[i]) && !strchr(".-", (*at)[i]))
            return false;
    memcpy(name, *at, n);
    name[n] = 0;
    *at += n;
    return true;
}

static bool take_query(const char *at, query wanted, vw_route *route)
{
    if (wanted == QUERY_PLACE)
        return g_str_has_prefix(at, "?x=") && (at += 3, take_number(&at, &route->x)) &&
               g_str_has_prefix(at, "&y=") && (at += 3, take_number(&at, &route->y)) && !*at;
    if (wanted == QUERY_FROM)
        return g_str_has_prefix(at, "?from=") && (at += 6, take_number(&at, &route->x)) && !*at;
    if (!*at)
        return true;
    if (wanted != QUERY_VERSION || !g_str_has_prefix(at, "?v="))
        return false;
    at += 3;
    return *at && strspn(at, "0123456789abcdef") == strlen(at) && strlen(at) <= 32;
}

static bool match(const char *pattern, const char *at, query wanted, vw_route *route)
{
    int64_t number = 0;
    for (; *pattern; pattern++) {
        switch (*pattern) {
        case 'R':
        case 'S':
        case 'M':
        case 'L':
        case 'X':
        case 'Y':
            if (!take_number(&at, &number))
                return false;
            if (*pattern == 'S')
                route->slide = (int)number;
            else if (*pattern == 'R')
                route->run = (int)number;
            else if (*pattern == 'M')
                route->model = (int)number;
            else if (*pattern == 'L')
                route->level = (int)number;
            else if (*pattern == 'X')
                route->x = number;
            else
                route->y = number;
            break;
        case 'K':
            if (!take_plane(&at, &route->plane))
                return false;
            break;
        case 'N':
            if (!take_name(&at, route->name))
                return false;
            break;
        default:
            if (*at++ != *pattern)
                return false;
        }
    }
    return take_query(at, wanted, route);
}

static bool allows(vw_route_kind kind, vw_method method)
{
    if (kind == VW_ROUTE_SHAPE || kind == VW_ROUTE_ACCEPT)
        return method == VW_POST;
    return method == VW_GET || (kind == VW_ROUTE_DRAFT && method == VW_PUT);
}

unsigned vw_route_parse(const char *rest, vw_method method, vw_route *route)
{
    for (size_t i = 0; i < G_N_ELEMENTS(table); i++) {
        *route = (vw_route){.kind = table[i].kind};
        if (match(table[i].pattern, rest, table[i].query, route))
            return allows(route->kind, method) ? 0 : 405;
    }
    return 404;
}
