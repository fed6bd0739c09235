/* The engine: a backend, its team, its shared scratch and its account of bytes. */
#include "kernels/engine/engine_priv.h"

#include "base/error.h"

#include <math.h>
#include <omp.h>
#include <string.h>

/* The last place is for a backend that is added. */
static const kn_backend *backends[] = {&kn_backend_cpu, &kn_backend_ref, NULL, NULL};

void kn_engine_add_backend(const kn_backend *backend)
{
    backends[G_N_ELEMENTS(backends) - 2] = backend;
}

bool kn_disabled(const char *what)
{
    const char *list = g_getenv("QS_DISABLE");
    if (!list)
        return false;
    g_auto(GStrv) names = g_strsplit_set(list, ", ", -1);
    return g_strv_contains((const char *const *)names, what);
}

static const kn_backend *find_backend(const char *name, GError **error)
{
    g_autoptr(GString) known = g_string_new(NULL);
    for (int i = 0; backends[i]; i++) {
        if (g_str_equal(backends[i]->name, name) && !kn_disabled(name))
            return backends[i];
        g_string_append_printf(known, " %s", backends[i]->name);
    }
    const char *why = kn_disabled(name)           ? "disabled by QS_DISABLE"
                      : g_str_equal(name, "cuda") ? "not in this program: it was built without CUDA"
                                                  : "not known";
    g_set_error(error, QS_ERROR, QS_ERROR_ARG, "device '%s' is %s; known:%s", name, why,
                known->str);
    return NULL;
}

/* "layer:direction:WxH=algorithm,…" into the table; a damaged entry is an error, not a guess. */
static bool parse_choices(GHashTable *choices, const char *text, GError **error)
{
    g_auto(GStrv) entries = g_strsplit(text, ",", -1);
    for (int i = 0; entries[i]; i++) {
        if (entries[i][0] == '\0')
            continue;
        char *equal = strchr(entries[i], '=');
        if (!equal || equal == entries[i] || equal[1] == '\0') {
            g_set_error(error, QS_ERROR, QS_ERROR_ARG,
                        "convolution choice '%s' is not layer:direction:WxH=algorithm", entries[i]);
            return false;
        }
        g_hash_table_insert(choices, g_strndup(entries[i], (gsize)(equal - entries[i])),
                            g_strdup(equal + 1));
    }
    return true;
}

bool kn_precision_parse(const char *text, kn_precision *precision)
{
    static const char *const names[] = {"auto", "f32", "bf16"};
    for (size_t i = 0; i < G_N_ELEMENTS(names); i++)
        if (g_str_equal(text, names[i])) {
            *precision = (kn_precision)i;
            return true;
        }
    return false;
}

kn_engine *kn_engine_create(const kn_engine_options *options, GError **error)
{
    const kn_backend *backend = find_backend(options->backend ? options->backend : "cpu", error);
    if (!backend)
        return NULL;
    if (options->n_threads < 0 || options->n_threads > 1024) {
        g_set_error(error, QS_ERROR, QS_ERROR_ARG, "%d threads: want 1 to 1024, or 0 for all cores",
                    options->n_threads);
        return NULL;
    }
    if (options->precision == KN_PRECISION_BF16 && backend->ops->dtype == KN_F64) {
        g_set_error(error, QS_ERROR, QS_ERROR_ARG,
                    "precision bf16 on %s: it computes in f64; bf16 is for cpu and cuda",
                    backend->name);
        return NULL;
    }
    kn_engine *engine = g_new0(kn_engine, 1);
    engine->backend = backend;
    engine->conv_mode = options->conv;
    engine->precision = options->precision;
    engine->act = backend->ops->dtype;
    engine->n_threads = options->n_threads > 0 ? options->n_threads : omp_get_num_procs();
    engine->choices = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, g_free);
    size_t partials_bytes = (size_t)engine->n_threads * 4 * KN_CHANNELS_MAX * sizeof(double);
    engine->partials = g_aligned_alloc0(1, partials_bytes, KN_ALIGN);
    engine->bytes = (int64_t)partials_bytes;
    kn_engine_team(engine);
    if ((options->conv_choices && !parse_choices(engine->choices, options->conv_choices, error)) ||
        !backend->open(engine, error)) {
        kn_engine_destroy(engine);
        return NULL;
    }
    return engine;
}

void kn_engine_destroy(kn_engine *engine)
{
    if (!engine)
        return;
    if (engine->scratch.data)
        kn_engine_free(engine, &engine->scratch);
    engine->backend->close(engine);
    g_hash_table_destroy(engine->choices);
    g_aligned_free(engine->partials);
    g_free(engine->description);
    g_free(engine);
}

kn_dtype kn_engine_dtype(const kn_engine *engine)
{
    return engine->backend->ops->dtype;
}

const char *kn_engine_describe(const kn_engine *engine)
{
    return engine->description;
}

int kn_engine_threads(const kn_engine *engine)
{
    return engine->n_threads;
}

const kn_ops *kn_engine_ops(const kn_engine *engine)
{
    return engine->backend->ops;
}

int64_t kn_engine_bytes(const kn_engine *engine)
{
    return engine->bytes;
}

char *kn_engine_conv_choices(const kn_engine *engine)
{
    g_autoptr(GList) keys =
        g_list_sort(g_hash_table_get_keys(engine->choices), (GCompareFunc)strcmp);
    GString *text = g_string_new(NULL);
    for (GList *at = keys; at; at = at->next)
        g_string_append_printf(text, "%s%s=%s", text->len ? "," : "", (const char *)at->data,
                               (const char *)g_hash_table_lookup(engine->choices, at->data));
    return g_string_free(text, FALSE);
}

void kn_engine_team(const kn_engine *engine)
{
    omp_set_num_threads(engine->n_threads);
}

bool kn_engine_alloc(kn_engine *engine, kn_block *block, size_t bytes, const char *what,
                     GError **error)
{
    const kn_device_memory *memory = engine->backend->memory;
    kn_engine_team(engine);
    if (memory ? !memory->alloc(engine, block, bytes, what, error)
               : !kn_block_alloc(block, bytes, what, error))
        return false;
    engine->bytes += (int64_t)bytes;
    return true;
}

void kn_engine_free(kn_engine *engine, kn_block *block)
{
    engine->bytes -= (int64_t)block->bytes;
    if (engine->backend->memory)
        engine->backend->memory->free(engine, block);
    else
        kn_block_free(block);
}

/* ---- memory of another kind ------------------------------------------------------------------ */

bool kn_engine_is_device(const kn_engine *engine)
{
    return engine->backend->memory != NULL;
}

int64_t kn_engine_memory_available(kn_engine *engine)
{
    return engine->backend->memory ? engine->backend->memory->bytes_free(engine)
                                   : kn_memory_available();
}

bool kn_engine_check(kn_engine *engine, GError **error)
{
    return !engine->backend->memory || engine->backend->memory->check(engine, error);
}

bool kn_engine_peek(kn_engine *engine, GError **error)
{
    return !engine->backend->memory || engine->backend->memory->peek(engine, error);
}

void kn_engine_begin(kn_engine *engine)
{
    if (engine->backend->memory)
        engine->backend->memory->begin(engine);
}

void kn_engine_end(kn_engine *engine)
{
    if (engine->backend->memory)
        engine->backend->memory->end(engine);
}

uint64_t kn_engine_mark(kn_engine *engine)
{
    return engine->backend->memory ? engine->backend->memory->mark(engine) : 0;
}

void kn_engine_await(kn_engine *engine, uint64_t mark)
{
    if (engine->backend->memory)
        engine->backend->memory->await(engine, mark);
}

void kn_engine_fetch(kn_engine *engine, void *dst, const void *src, size_t bytes)
{
    if (engine->backend->memory)
        engine->backend->memory->fetch(engine, dst, src, bytes);
    else if (bytes > 0)
        memcpy(dst, src, bytes);
}

void kn_engine_on_host(kn_engine *engine, void (*fn)(void *user), void *user)
{
    if (engine->backend->memory)
        engine->backend->memory->on_host(engine, fn, user);
    else
        fn(user);
}

void kn_engine_clear(kn_engine *engine, const kn_tensor *t)
{
    engine->backend->ops->clear(engine, t);
}

void kn_engine_upload(kn_engine *engine, void *dst, const void *src, size_t bytes)
{
    if (engine->backend->memory)
        engine->backend->memory->upload(engine, dst, src, bytes);
    else
        memcpy(dst, src, bytes);
}

void kn_engine_download(kn_engine *engine, void *dst, const void *src, size_t bytes)
{
    if (engine->backend->memory)
        engine->backend->memory->download(engine, dst, src, bytes);
    else
        memcpy(dst, src, bytes);
}

bool kn_engine_host_alloc(kn_engine *engine, kn_block *block, size_t bytes, const char *what,
                          GError **error)
{
    return engine->backend->memory
               ? engine->backend->memory->host_alloc(engine, block, bytes, what, error)
               : kn_block_alloc(block, bytes, what, error);
}

void kn_engine_host_free(kn_engine *engine, kn_block *block)
{
    if (engine->backend->memory)
        engine->backend->memory->host_free(engine, block);
    else
        kn_block_free(block);
}

bool kn_engine_tensor_create(kn_engine *engine, int n, int h, int w, int c, kn_tensor *tensor,
                             GError **error)
{
    *tensor =
        (kn_tensor){.dtype = kn_engine_dtype(engine), .n = n, .h = h, .w = w, .c = c, .ldc = c};
    size_t bytes = (size_t)kn_pixels(tensor) * (size_t)c * kn_dtype_bytes(tensor->dtype);
    kn_block block = {0};
    if (!kn_engine_alloc(engine, &block, bytes, "a prediction", error))
        return false;
    tensor->data = block.data;
    return true;
}

void kn_engine_tensor_destroy(kn_engine *engine, kn_tensor *tensor)
{
    kn_block block = {tensor->data, (size_t)kn_pixels(tensor) * (size_t)tensor->c *
                                        kn_dtype_bytes(tensor->dtype)};
    if (tensor->data)
        kn_engine_free(engine, &block);
    *tensor = (kn_tensor){0};
}

bool kn_engine_reserve_scratch(kn_engine *engine, size_t bytes, GError **error)
{
    if (bytes <= engine->scratch.bytes)
        return true;
    size_t old = engine->scratch.bytes;
    kn_engine_free(engine, &engine->scratch);
    if (kn_engine_alloc(engine, &engine->scratch, bytes, "the engine's scratch", error))
        return true;
    /* Earlier passes go on as before; taking back what was just given is not expected to fail. */
    if (old > 0)
        kn_engine_alloc(engine, &engine->scratch, old, "the engine's scratch", NULL);
    return false;
}

uint32_t kn_dropout_threshold(double p)
{
    return (uint32_t)CLAMP(lround(p * 65536.0), 0, 65535);
}

double kn_dropout_scale(double p)
{
    return 65536.0 / (65536.0 - kn_dropout_threshold(p));
}
