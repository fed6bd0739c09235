/* See answer.h. */
#include "view/answer.h"

#include "base/error.h"
#include "view/cache.h"
#include "view/describe.h"
#include "view/edit.h"
#include "view/plane.h"
#include "view/pool.h"
#include "view/rank.h"
#include "view/run.h"
#include "view/tile.h"
#include "view/turns.h"
#include "view/web.h"

#include <gio/gio.h>

#include <string.h>

#define CACHE_BYTES ((size_t)128 << 20)
#define SLIDES_BYTES ((int64_t)1 << 30)
enum { GZIP_LEVEL = 1 };

struct vw_service {
    const vw_shown *shown;
    const vw_guard *guard;
    vw_drafts *drafts;
    vw_pool *pool;
    vw_cache *cache;
    vw_worklist *worklist;
    vw_turns turns;
};

vw_service *vw_service_create(const vw_shown *shown, const vw_guard *guard, vw_drafts *drafts)
{
    vw_service *service = g_new0(vw_service, 1);
    service->shown = shown;
    service->guard = guard;
    service->drafts = drafts;
    service->pool = vw_pool_create(shown, SLIDES_BYTES);
    service->worklist = vw_worklist_create(shown, service->pool);
    service->cache = vw_cache_create(CACHE_BYTES);
    vw_turns_init(&service->turns, shown->n_threads);
    return service;
}

void vw_service_destroy(vw_service *service)
{
    if (!service)
        return;
    vw_worklist_destroy(service->worklist);
    vw_pool_destroy(service->pool);
    vw_cache_destroy(service->cache);
    vw_turns_clear(&service->turns);
    g_free(service);
}

int64_t vw_service_memory(const vw_service *service)
{
    (void)service;
    return (int64_t)CACHE_BYTES + SLIDES_BYTES;
}

/* ---- answers --------------------------------------------------------------------------------- */
void vw_answer_clear(vw_answer *answer)
{
    g_clear_pointer(&answer->body, g_bytes_unref);
    g_clear_pointer(&answer->etag, g_free);
}

void vw_answer_bytes(vw_answer *answer, const char *type, GBytes *body)
{
    answer->status = 200;
    answer->type = type;
    answer->body = body;
}

void vw_answer_fail(vw_answer *answer, unsigned status, GError *error)
{
    static const struct {
        unsigned status;
        const char *text;
    } texts[] = {{400, "this address is none of ours"},
                 {403, "this page may not ask here"},
                 {404, "there is no such thing here"},
                 {405, "not by this method"},
                 {413, "too large"}};
    const char *text = error ? error->message : "it cannot be done";
    for (size_t i = 0; !error && i < G_N_ELEMENTS(texts); i++)
        if (texts[i].status == status)
            text = texts[i].text;
    JsonBuilder *b = json_builder_new();
    json_builder_begin_object(b);
    vw_json_string(b, "error", text);
    json_builder_end_object(b);
    vw_answer_clear(answer);
    vw_answer_bytes(answer, "application/json", vw_json_bytes(b));
    answer->status = status;
    g_clear_error(&error);
}

/* What is not there is 404; what is there and cannot be read 422. */
static void fail_reading(vw_answer *answer, GError *error)
{
    vw_answer_fail(answer, g_error_matches(error, QS_ERROR, QS_ERROR_ARG) ? 404 : 422, error);
}

static GBytes *gzip(const uint8_t *bytes, size_t n, GError **error)
{
    g_autoptr(GZlibCompressor) z = g_zlib_compressor_new(G_ZLIB_COMPRESSOR_FORMAT_GZIP, GZIP_LEVEL);
    size_t room = n + n / 8 + 256, done = 0, used = 0, wrote = 0;
    uint8_t *out = g_malloc(room);
    GConverterResult result = G_CONVERTER_CONVERTED;
    while (result == G_CONVERTER_CONVERTED) {
        result =
            g_converter_convert(G_CONVERTER(z), bytes + used, n - used, out + done, room - done,
                                G_CONVERTER_INPUT_AT_END, &(gsize){0}, &wrote, error);
        if (result == G_CONVERTER_ERROR)
            break;
        done += wrote;
        used = n;
    }
    if (result == G_CONVERTER_FINISHED)
        return g_bytes_new_take(g_realloc(out, done), done);
    g_free(out);
    return NULL;
}

static GBytes *make_plane(vw_open *open, const vw_route *route, GError **error)
{
    size_t n = (size_t)VW_PLANE_SIDE * VW_PLANE_SIDE;
    g_autofree uint8_t *bytes = g_malloc(n);
    if (!vw_plane_tile(open, route->plane, route->model, route->level, route->x, route->y, bytes,
                       error))
        return NULL;
    return gzip(bytes, n, error);
}

static GBytes *make_picture(vw_open *open, const vw_route *route, GError **error)
{
    switch (route->kind) {
    case VW_ROUTE_TILE:
        return vw_tile(open, route->level, route->x, route->y, error);
    case VW_ROUTE_THUMB:
        return vw_thumb(open, error);
    case VW_ROUTE_PLANE:
    default:
        return make_plane(open, route, error);
    }
}

/* Pictures are made in turn and kept; `rest`, which names them wholly, is their key. */
static void answer_picture(vw_service *service, const vw_route *route, const char *rest,
                           vw_answer *answer)
{
    GError *error = NULL;
    bool is_plane = route->kind == VW_ROUTE_PLANE;
    GBytes *bytes = vw_cache_get(service->cache, rest);
    if (!bytes) {
        vw_turns_take(&service->turns);
        vw_open *open = vw_pool_take(service->pool, (guint)route->slide, &error);
        bytes = open ? make_picture(open, route, &error) : NULL;
        if (open)
            vw_pool_give(service->pool, open);
        vw_turns_give(&service->turns);
        if (bytes)
            vw_cache_put(service->cache, rest, bytes);
    }
    if (!bytes) {
        fail_reading(answer, error);
        return;
    }
    vw_answer_bytes(answer, is_plane ? "application/octet-stream" : "image/jpeg", bytes);
    answer->gzip = is_plane;
    answer->keep = true;
}

static void answer_slide(vw_service *service, const vw_route *route, vw_answer *answer)
{
    GError *error = NULL;
    vw_turns_take(&service->turns);
    vw_open *open = vw_pool_take(service->pool, (guint)route->slide, &error);
    GBytes *bytes = !open                           ? NULL
                    : route->kind == VW_ROUTE_SLIDE ? vw_describe_slide(open)
                                                    : vw_describe_place(open, route->x, route->y);
    if (open)
        vw_pool_give(service->pool, open);
    vw_turns_give(&service->turns);
    if (bytes)
        vw_answer_bytes(answer, "application/json", bytes);
    else
        fail_reading(answer, error);
}

static void answer_web(const char *name, vw_answer *answer)
{
    const char *type = NULL;
    GBytes *bytes = vw_web_file(name, &type);
    if (bytes)
        vw_answer_bytes(answer, type, bytes);
    else
        vw_answer_fail(answer, 404, NULL);
}

/* What the user draws: the slide is opened for its size, the prediction for accepting. */
static void answer_edit(vw_service *service, const vw_route *route, const vw_request *r,
                        vw_answer *answer)
{
    GError *error = NULL;
    vw_open *open = vw_pool_take(service->pool, (guint)route->slide, &error);
    if (!open) {
        fail_reading(answer, error);
        return;
    }
    GBytes *bytes = NULL;
    if (route->kind == VW_ROUTE_DRAFT && r->method == VW_GET) {
        vw_draft_get(service->drafts, (guint)route->slide, open->w, open->h, answer);
    } else if (route->kind == VW_ROUTE_DRAFT) {
        vw_draft_put(service->drafts, (guint)route->slide, open->w, open->h, r, answer);
    } else {
        vw_turns_take(&service->turns);
        if (route->kind == VW_ROUTE_SHAPE) {
            bytes = vw_edit((const char *)r->body, (gssize)r->n_body, open->w, open->h, &error);
        } else {
            vw_layer *pred = vw_open_layer(open, VW_PLANE_LABEL, route->model, &error);
            bytes = pred ? vw_accept(&pred->labels, route->x, route->y, &error) : NULL;
        }
        vw_turns_give(&service->turns);
        if (bytes)
            vw_answer_bytes(answer, "application/json", bytes);
        else
            vw_answer_fail(answer, 422, error);
    }
    vw_pool_give(service->pool, open);
}

static void answer_run(const vw_shown *shown, const vw_route *route, vw_answer *answer)
{
    const vw_model *run = vw_shown_run(shown, (guint)route->run);
    bool picture = route->kind == VW_ROUTE_SNAPSHOT;
    GBytes *bytes = !run      ? NULL
                    : picture ? vw_run_snapshot(run->dir, route->x)
                              : vw_run_describe(run->name, run->dir, route->x);
    if (bytes)
        vw_answer_bytes(answer, picture ? "image/png" : "application/json", bytes);
    else
        vw_answer_fail(answer, 404, NULL);
}

void vw_service_answer(vw_service *service, const vw_request *request, vw_answer *answer)
{
    const char *rest = NULL;
    vw_route route;
    *answer = (vw_answer){0};
    unsigned refused = vw_guard_admit(service->guard, request, &rest);
    if (!refused)
        refused = vw_route_parse(rest, request->method, &route);
    if (refused) {
        vw_answer_fail(answer, refused, NULL);
        return;
    }
    if (route.kind >= VW_ROUTE_SLIDE && !vw_shown_slide(service->shown, (guint)route.slide)) {
        vw_answer_fail(answer, 404, NULL);
        return;
    }
    if (route.kind == VW_ROUTE_PAGE)
        answer_web("index.html", answer);
    else if (route.kind == VW_ROUTE_WEB)
        answer_web(route.name, answer);
    else if (route.kind == VW_ROUTE_SHOWN)
        vw_answer_bytes(answer, "application/json",
                        vw_describe_shown(service->shown, service->drafts != NULL));
    else if (route.kind >= VW_ROUTE_DRAFT && route.kind <= VW_ROUTE_ACCEPT && service->drafts)
        answer_edit(service, &route, request, answer);
    else if (route.kind >= VW_ROUTE_DRAFT && route.kind <= VW_ROUTE_ACCEPT)
        vw_answer_fail(answer, 404, NULL); /* without --annotate there is nothing to draw into */
    else if (route.kind == VW_ROUTE_WORKLIST)
        vw_answer_bytes(answer, "application/json", vw_worklist_describe(service->worklist));
    else if (route.kind == VW_ROUTE_RUN || route.kind == VW_ROUTE_SNAPSHOT)
        answer_run(service->shown, &route, answer);
    else if (route.kind == VW_ROUTE_SLIDE || route.kind == VW_ROUTE_AT)
        answer_slide(service, &route, answer);
    else
        answer_picture(service, &route, rest, answer);
}
