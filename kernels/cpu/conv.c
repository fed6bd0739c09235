/* A convolution of the CPU backend: three directions, each with the algorithm chosen for it.
 *
 * KN_CONV_DIRECT takes oneDNN's direct one, or ours (direct.inc) where 16 channels are written,
 * which oneDNN is slow at. KN_CONV_AUTO times oneDNN's direct one, its Winograd F(4,3) and our own
 * (winograd.inc, the faster one up to some 64 channels) once per layer, direction and size, on a
 * few images, and remembers the fastest in the engine's table, which can be written down and given
 * back so that a resumed run computes the same bits.
 *
 * KN_CONV_SHAPE takes what such timings gave on processors with AVX-512, by the layer's shape: the same
 * seed, device and threads then give the same bits whatever else the machine is doing.
 *
 * oneDNN's Winograd runs a few images at a time: as fast, since these layers have thousands of
 * tiles an image, and its transformed tensors (2.25 times the source and the destination) stay
 * small. It has no LeakyReLU post-op; our pass follows it while the images are in the cache.
 *
 * The weight gradient of the first convolution is ours (stem.inc), and so is the head (head.inc,
 * head_data.inc).
 *
 * QS_DISABLE=own-conv leaves our own kernels out: oneDNN alone, for comparisons. */
#include "kernels/cpu/cpu_priv.h"

#include "base/error.h"

#include <string.h>
#include <time.h>

enum {
    N_DIRECTIONS = 3,
    TRIAL_IMAGES = 4,
    TRIAL_RUNS = 2,
    TRIAL_ROUNDS = 3,
    CHUNK_BYTES = 2 << 20,
    OWN_CHANNELS_MAX = 64,
    WINOGRAD_PX_MIN = 16, /* smaller pictures have too few tiles of 4 x 4 to pay for transforms */
};

typedef enum { DIRECT, WINOGRAD, OWN, N_ALGORITHMS } algorithm;
static const char *const ALGORITHM_NAMES[N_ALGORITHMS] = {"direct", "winograd", "own"};

typedef enum { OWN_NOT, OWN_WINOGRAD, OWN_DIRECT, OWN_STEM, OWN_HEAD } own_kind;

struct kn_conv {
    kn_engine *engine; /* borrowed */
    kn_conv_spec spec;
    kn_prim *prim[N_DIRECTIONS]; /* NULL: direction not wanted, or by our own kernel */
    own_kind own[N_DIRECTIONS];
    int chunk[N_DIRECTIONS]; /* images of one run of the primitive; divides spec.n */
    bool leaky_after;        /* LeakyReLU by our pass */
    bool head;               /* by our own kernels: no prim, but for bwd_data without AVX-512 */
    char *description;
};

static bool wanted(const kn_conv_spec *s, kn_direction d)
{
    return d == KN_FWD || (s->train && (d == KN_BWD_WEIGHTS || s->bwd_data));
}

/* ---- our own Winograd
 * --------------------------------------------------------------------------------------- */

/* In bf16 oneDNN has direct convolutions only, twice as fast as in f32; our own read and write bf16
 * and compute in f32. What oneDNN's read is narrowed first where it is an edge of the pass, of f32:
 * images, gradients of logits. */
static bool is_bf16(const kn_conv_spec *s)
{
    return s->src_type == KN_BF16 || s->dst_type == KN_BF16;
}

/* The types that the primitive of a direction takes. */
static kn_conv_spec typed(const kn_conv_spec *s, kn_direction d)
{
    kn_conv_spec t = *s;
    if (is_bf16(s) && d != KN_BWD_DATA)
        t.src_type = KN_BF16;
    if (is_bf16(s) && d != KN_FWD)
        t.dst_type = KN_BF16;
    return t;
}

/* Bytes of a tensor that is to be narrowed; 0 where it is not. */
static size_t narrowed_bytes(const kn_conv_spec *s, kn_dtype type, int channels)
{
    if (!is_bf16(s) || type == KN_BF16)
        return 0;
    return kn_round_up(
        (size_t)s->n * (size_t)s->h * (size_t)s->w * (size_t)channels * sizeof(kn_bf16), KN_ALIGN);
}

static size_t narrowed_src_bytes(const kn_conv_spec *s, kn_direction d)
{
    return d == KN_BWD_DATA ? 0 : narrowed_bytes(s, s->src_type, s->ic);
}

static size_t narrowed_dst_bytes(const kn_conv_spec *s, kn_direction d)
{
    return d == KN_FWD ? 0 : narrowed_bytes(s, s->dst_type, s->oc);
}

/* The tensor, or its copy of so many bytes in `room` where it is narrowed. */
static kn_tensor narrowed(const kn_conv *conv, const kn_tensor *t, size_t bytes, void *room)
{
    kn_tensor narrow = *t;
    if (bytes == 0)
        return narrow;
    narrow.dtype = KN_BF16;
    narrow.data = room;
    kn_cpu_of(conv->engine)->bf16->narrow(kn_f32(t), room, kn_pixels(t) * t->c);
    return narrow;
}

/* It makes no bias gradient: convolutions that BatchNorm follows have none. */
static bool own_possible(const kn_engine *engine, const kn_conv_spec *s, kn_direction d)
{
    bool blocks = (s->src_block || s->ic == 16) && (s->dst_block || s->oc == 16);
    return !kn_disabled("own-conv") && s->src_type == s->dst_type &&
           kn_cpu_typed_passes(engine, s->src_type)->wino_conv && s->k == 3 && s->ic % 16 == 0 &&
           s->oc % 16 == 0 && blocks && engine->block == 16 && !(d == KN_BWD_WEIGHTS && s->bias);
}

static size_t own_weight_bytes(const kn_conv_spec *s, own_kind kind)
{
    size_t points = kind == OWN_DIRECT ? 9 : 36;
    return points * (size_t)s->ic * (size_t)s->oc * sizeof(float);
}

static size_t own_scratch_bytes(const kn_engine *engine, const kn_conv_spec *s, kn_direction d,
                                own_kind kind)
{
    if (kind != OWN_WINOGRAD)
        return 0;
    return (size_t)engine->n_threads *
           kn_cpu_typed_passes(engine, s->src_type)
               ->wino_scratch_bytes(s->ic, s->oc, s->w, d == KN_BWD_WEIGHTS);
}

/* A dense image batch of `c` channels as our kernel sees it. */
static kn_tensor own_view(const kn_conv_spec *s, int c, const void *data)
{
    union {
        const void *in;
        void *out;
    } pointer = {data};
    return (kn_tensor){s->src_type, s->n, s->h, s->w, c, c, pointer.out, 16};
}

/* Forward, src to dst, or backward to the data, dst to src. */
static void run_own(kn_engine *engine, const kn_conv_spec *s, own_kind kind, kn_direction d,
                    const void *src, const void *weights, const float *bias, const void *dst,
                    void *scratch, const kn_beside *with)
{
    const kn_passes *passes = kn_cpu_typed_passes(engine, s->src_type);
    kn_tensor x = own_view(s, s->ic, src), y = own_view(s, s->oc, dst);
    float slope = d == KN_FWD && s->leaky ? (float)KN_LEAKY_SLOPE : 1;
    (kind == OWN_DIRECT ? passes->direct_conv : passes->wino_conv)(
        engine, d == KN_FWD ? &x : &y, weights, d == KN_FWD && s->bias ? bias : NULL, slope,
        d == KN_FWD ? &y : &x, scratch, with);
}

/* ---- the choice
 * --------------------------------------------------------------------------------------------- */

/* Processor time of all threads: other programs on the machine disturb it least. */
static double processor_seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* prim over all images of s, `chunk` at a time. */
static bool run_chunks(kn_prim *prim, const kn_conv_spec *s, int chunk, char *x, char *w, char *b,
                       char *y, char *scratch)
{
    size_t pixels = (size_t)chunk * (size_t)s->h * (size_t)s->w * sizeof(float);
    for (int i = 0; i < s->n; i += chunk, x += pixels * (size_t)s->ic, y += pixels * (size_t)s->oc)
        if (!kn_prim_run(prim, x, w, b, y, scratch, NULL))
            return false;
    return true;
}

/* Seconds of one run on zeroed memory; the best of a few. prim NULL: our own, else made for `chunk`
 * images. -1: no memory to try. */
static double time_run(kn_engine *engine, const kn_conv_spec *s, kn_direction d, kn_prim *prim,
                       int chunk)
{
    size_t pixels = (size_t)s->n * (size_t)s->h * (size_t)s->w;
    size_t src = kn_round_up(pixels * (size_t)s->ic * sizeof(float), KN_ALIGN);
    size_t dst = kn_round_up(pixels * (size_t)s->oc * sizeof(float), KN_ALIGN);
    size_t weights = kn_round_up(
        prim ? kn_prim_weight_bytes(prim) : own_weight_bytes(s, OWN_WINOGRAD), KN_ALIGN);
    size_t bias = kn_round_up((size_t)s->oc * sizeof(float), KN_ALIGN);
    size_t scratch =
        prim ? kn_prim_scratch_bytes(prim) : own_scratch_bytes(engine, s, d, OWN_WINOGRAD);
    kn_block block;
    if (!kn_block_alloc(&block, src + dst + weights + bias + scratch, "a trial", NULL))
        return -1;
    char *x = block.data, *y = x + src, *w = y + dst, *b = w + weights, *temporary = b + bias;
    double best = -1;
    for (int i = 0; i <= TRIAL_RUNS; i++) {
        double start = processor_seconds();
        if (prim) {
            if (!run_chunks(prim, s, chunk, x, w, b, y, temporary))
                break;
        } else if (d == KN_BWD_WEIGHTS) {
            kn_tensor src_view = own_view(s, s->ic, x), dst_view = own_view(s, s->oc, y);
            kn_cpu_passes(engine, &src_view)
                ->wino_bwd_weights(engine, &src_view, &dst_view, (float *)w, temporary, NULL);
        } else {
            run_own(engine, s, OWN_WINOGRAD, d, x, w, (float *)b, y, temporary, NULL);
        }
        double seconds = processor_seconds() - start;
        if (i > 0 && (best < 0 || seconds < best)) /* the first run warms up */
            best = seconds;
    }
    kn_block_free(&block);
    return best;
}

/* Images that Winograd takes at once: about CHUNK_BYTES of output, a divisor of n. */
static int winograd_chunk(const kn_conv_spec *s, kn_direction d)
{
    if (d == KN_BWD_WEIGHTS)
        return s->n;
    int64_t image = (int64_t)s->h * s->w * MAX(s->ic, s->oc) * (int64_t)sizeof(float);
    int chunk = (int)CLAMP(CHUNK_BYTES / image, 1, s->n);
    while (s->n % chunk)
        chunk--;
    return chunk;
}

/* Seconds an image; -1: not to be had here. All are tried on as many images, so that none finds its
 * operands in a cache where the others do not. */
static double time_algorithm(kn_engine *engine, const kn_conv_spec *s, kn_direction d, algorithm a)
{
    kn_conv_spec trial = *s;
    trial.n = MIN(s->n, TRIAL_IMAGES);
    if (a == WINOGRAD && is_bf16(s))
        return -1;
    if (a == OWN)
        return own_possible(engine, s, d) ? time_run(engine, &trial, d, NULL, 0) / trial.n : -1;
    trial.leaky = s->leaky && a == DIRECT;
    kn_conv_spec one = trial;
    one.n = a == WINOGRAD ? MIN(winograd_chunk(s, d), trial.n) : trial.n;
    trial.n -= trial.n % one.n;
    kn_prim *prim = kn_prim_create(kn_cpu_of(engine)->dnnl, &one, d, a == WINOGRAD, NULL);
    double seconds = prim ? time_run(engine, &trial, d, prim, one.n) : -1;
    kn_prim_destroy(prim);
    return seconds / trial.n;
}

/* Ours up to 64 channels, where its operands stay in the caches; beyond that oneDNN's Winograd, which has
 * no bf16, where the picture has tiles enough. */
static algorithm choose_by_shape(const kn_engine *engine, const kn_conv_spec *s, kn_direction d)
{
    if (MAX(s->ic, s->oc) <= OWN_CHANNELS_MAX)
        return own_possible(engine, s, d) ? OWN : DIRECT;
    return is_bf16(s) || MIN(s->h, s->w) < WINOGRAD_PX_MIN ? DIRECT : WINOGRAD;
}

static algorithm choose(kn_engine *engine, const kn_conv_spec *s, kn_direction d)
{
    if (engine->conv_mode == KN_CONV_DIRECT || s->k != 3 || !kn_dnnl_has_winograd())
        return DIRECT;
    if (engine->conv_mode == KN_CONV_SHAPE)
        return choose_by_shape(engine, s, d);
    g_autofree char *key =
        g_strdup_printf("%s:%s:%dx%d", s->name, kn_direction_names[d], s->w, s->h);
    const char *known = g_hash_table_lookup(engine->choices, key);
    for (int a = 0; known && a < N_ALGORITHMS; a++)
        if (g_str_equal(known, ALGORITHM_NAMES[a]))
            return (algorithm)a;
    algorithm best = DIRECT;
    double least[N_ALGORITHMS] = {-1, -1, -1};
    for (int round = 0; round < TRIAL_ROUNDS; round++) /* in turn: a busy moment hits all */
        for (int a = 0; a < N_ALGORITHMS; a++) {
            double seconds = time_algorithm(engine, s, d, (algorithm)a);
            if (seconds >= 0 && (least[a] < 0 || seconds < least[a]))
                least[a] = seconds;
        }
    for (int a = 0; a < N_ALGORITHMS; a++)
        if (least[a] >= 0 && (least[best] < 0 || least[a] < least[best]))
            best = (algorithm)a;
    g_hash_table_insert(engine->choices, g_steal_pointer(&key), g_strdup(ALGORITHM_NAMES[best]));
    return best;
}

/* Few outputs, which oneDNN would pad to 16. */
static bool is_head(const kn_conv_spec *s)
{
    return !kn_disabled("own-conv") && s->k == 3 && s->oc <= KN_HEAD_MAX && s->ic % 16 == 0 &&
           s->ic <= KN_HEAD_INPUTS && !s->leaky && !s->dst_block && (!s->src_block || s->ic == 16);
}

/* With KN_CONV_DIRECT and f32: where 16 channels are written, oneDNN's reaches 70 % of what the
 * multipliers give, ours 90. */
static bool own_direct(const kn_engine *engine, const kn_conv_spec *s, kn_direction d)
{
    int written = d == KN_FWD ? s->oc : s->ic;
    return engine->conv_mode == KN_CONV_DIRECT && d != KN_BWD_WEIGHTS && written == 16 &&
           s->src_type == KN_F32;
}

/* The weight gradient of the first convolution: oneDNN's is as fast and takes no BatchNorm along.
 */
static bool is_stem(const kn_engine *engine, const kn_conv_spec *s, kn_direction d)
{
    const kn_passes *passes = kn_cpu_typed_passes(engine, s->dst_type);
    return d == KN_BWD_WEIGHTS && !kn_disabled("own-conv") && passes->stem_bwd_weights &&
           s->k == 3 && s->ic == 3 && s->oc % 16 == 0 && s->oc <= passes->stem_outputs_max &&
           !s->bias && !s->src_block && s->src_type == KN_F32;
}

static bool create_direction(kn_conv *conv, kn_direction d, GError **error)
{
    kn_dnnl *dnnl = kn_cpu_of(conv->engine)->dnnl;
    GError *problem = NULL;
    kn_conv_spec spec = typed(&conv->spec, d);
    conv->chunk[d] = spec.n;
    bool head = conv->head && kn_cpu_typed_passes(conv->engine, conv->spec.src_type)->head_bwd_data;
    if (head || is_stem(conv->engine, &conv->spec, d)) {
        conv->own[d] = head ? OWN_HEAD : OWN_STEM;
        return true;
    }
    algorithm chosen = choose(conv->engine, &spec, d);
    if (own_possible(conv->engine, &spec, d))
        conv->own[d] = chosen == OWN                        ? OWN_WINOGRAD
                       : own_direct(conv->engine, &spec, d) ? OWN_DIRECT
                                                            : OWN_NOT;
    if (conv->own[d])
        return true;
    if (chosen == WINOGRAD) {
        kn_conv_spec winograd = spec;
        winograd.n = winograd_chunk(&spec, d);
        winograd.leaky = false;
        conv->prim[d] = kn_prim_create(dnnl, &winograd, d, true, &problem);
        if (conv->prim[d]) {
            conv->chunk[d] = winograd.n;
            conv->leaky_after = spec.leaky && d == KN_FWD;
        }
    }
    if (!conv->prim[d] && !problem)
        conv->prim[d] = kn_prim_create(dnnl, &spec, d, false, &problem);
    if (conv->prim[d])
        return true;
    if (problem)
        g_propagate_error(error, problem);
    else
        g_set_error(
            error, QS_ERROR, QS_ERROR_UNSUPPORTED,
            "oneDNN has no optimised convolution here for %s (%s, %d to %d channels, %d x %d)",
            conv->spec.name, kn_direction_names[d], conv->spec.ic, conv->spec.oc, conv->spec.w,
            conv->spec.h);
    return false;
}

kn_conv *kn_cpu_conv_create(kn_engine *engine, const kn_conv_spec *spec, GError **error)
{
    kn_conv *conv = g_new0(kn_conv, 1);
    conv->engine = engine;
    conv->spec = *spec;
    conv->head = is_head(spec);
    GString *text = g_string_new(NULL);
    for (int d = 0; d < N_DIRECTIONS; d++) {
        if (!wanted(spec, (kn_direction)d))
            continue;
        if (conv->head && d != KN_BWD_DATA) {
            g_string_append_printf(text, "%s%s=own", text->len ? " " : "", kn_direction_names[d]);
            continue;
        }
        if (!create_direction(conv, (kn_direction)d, error)) {
            g_string_free(text, TRUE);
            kn_cpu_conv_destroy(conv);
            return NULL;
        }
        g_string_append_printf(text, "%s%s=%s", text->len ? " " : "", kn_direction_names[d],
                               conv->own[d] >= OWN_STEM     ? "own"
                               : conv->own[d] == OWN_DIRECT ? "own_direct"
                               : conv->own[d] == OWN_WINOGRAD
                                   ? "own_wino_4x3"
                                   : kn_prim_implementation(conv->prim[d]));
    }
    conv->description = g_string_free(text, FALSE);
    return conv;
}

void kn_cpu_conv_destroy(kn_conv *conv)
{
    if (!conv)
        return;
    for (int d = 0; d < N_DIRECTIONS; d++)
        kn_prim_destroy(conv->prim[d]);
    g_free(conv->description);
    g_free(conv);
}

const char *kn_cpu_conv_describe(const kn_conv *conv)
{
    return conv->description;
}

/* Packed: forward's weights, backward-data's weights, bias. */
typedef struct {
    size_t fwd, bwd_data, bias;
} packed_sizes;

static packed_sizes packed_of(const kn_conv *conv)
{
    packed_sizes p = {.bias = kn_round_up((size_t)conv->spec.oc * sizeof(float), KN_ALIGN)};
    const kn_conv_spec *s = &conv->spec;
    size_t plain = (size_t)s->oc * (size_t)s->ic * (size_t)(s->k * s->k) * sizeof(float);
    if (conv->head)
        p.fwd = plain;
    else
        p.fwd = conv->own[KN_FWD] ? own_weight_bytes(s, conv->own[KN_FWD])
                                  : kn_prim_weight_bytes(conv->prim[KN_FWD]);
    if (conv->own[KN_BWD_DATA] == OWN_HEAD)
        p.bwd_data = 0; /* forward's */
    else if (conv->own[KN_BWD_DATA])
        p.bwd_data = own_weight_bytes(s, conv->own[KN_BWD_DATA]);
    else if (conv->prim[KN_BWD_DATA])
        p.bwd_data = kn_prim_weight_bytes(conv->prim[KN_BWD_DATA]);
    p.fwd = kn_round_up(p.fwd, KN_ALIGN);
    p.bwd_data = kn_round_up(p.bwd_data, KN_ALIGN);
    return p;
}

/* Scratch of oneDNN's bwd_weights: its own, the gradient in its layout, in ours, the bias gradient.
 */
typedef struct {
    size_t prim, packed, plain, bias;
} bwd_weights_sizes;

static bwd_weights_sizes bwd_weights_of(const kn_conv *conv)
{
    const kn_conv_spec *s = &conv->spec;
    const kn_prim *prim = conv->prim[KN_BWD_WEIGHTS];
    return (bwd_weights_sizes){
        .prim = kn_round_up(kn_prim_scratch_bytes(prim), KN_ALIGN),
        .packed = kn_round_up(kn_prim_weight_bytes(prim), KN_ALIGN),
        .plain = kn_round_up((size_t)s->oc * (size_t)s->ic * (size_t)(s->k * s->k) * sizeof(float),
                             KN_ALIGN),
        .bias = kn_round_up((size_t)s->oc * sizeof(float), KN_ALIGN),
    };
}

static size_t scratch_of(const kn_conv *conv, kn_direction d)
{
    if (conv->own[d])
        return own_scratch_bytes(conv->engine, &conv->spec, d, conv->own[d]);
    if (!conv->prim[d])
        return 0;
    size_t narrow = narrowed_src_bytes(&conv->spec, d) + narrowed_dst_bytes(&conv->spec, d);
    if (d != KN_BWD_WEIGHTS)
        return narrow + kn_prim_scratch_bytes(conv->prim[d]);
    bwd_weights_sizes b = bwd_weights_of(conv);
    return narrow + b.prim + b.packed + b.plain + b.bias;
}

kn_conv_needs kn_cpu_conv_needs(const kn_conv *conv)
{
    packed_sizes p = packed_of(conv);
    return (kn_conv_needs){.packed_bytes = p.fwd + p.bwd_data + p.bias,
                           .fwd_bytes = scratch_of(conv, KN_FWD),
                           .bwd_data_bytes = scratch_of(conv, KN_BWD_DATA),
                           .bwd_weights_bytes = scratch_of(conv, KN_BWD_WEIGHTS)};
}

/* (oc,ic,3,3) to (oc,9,ic). */
static void pack_head(const kn_conv_spec *s, const float *weight, float *packed)
{
    for (int o = 0; o < s->oc; o++)
        for (int c = 0; c < s->ic; c++)
            for (int tap = 0; tap < 9; tap++)
                packed[(o * 9 + tap) * s->ic + c] = weight[(o * s->ic + c) * 9 + tap];
}

static bool pack_direction(const kn_conv *conv, kn_direction d, const float *weight, void *packed,
                           GError **error)
{
    const kn_conv_spec *s = &conv->spec;
    const kn_passes *passes = kn_cpu_typed_passes(conv->engine, s->src_type);
    if (conv->own[d] && conv->own[d] != OWN_HEAD)
        (conv->own[d] == OWN_DIRECT ? passes->direct_pack : passes->wino_pack)(
            weight, s->oc, s->ic, d == KN_BWD_DATA, packed);
    return !conv->prim[d] || kn_prim_pack(conv->prim[d], weight, packed, error);
}

bool kn_cpu_conv_pack(kn_conv *conv, const void *weight, const void *bias, void *packed,
                      GError **error)
{
    packed_sizes p = packed_of(conv);
    char *at = packed;
    if (bias)
        memcpy(at + p.fwd + p.bwd_data, bias, (size_t)conv->spec.oc * sizeof(float));
    else
        memset(at + p.fwd + p.bwd_data, 0, (size_t)conv->spec.oc * sizeof(float));
    if (conv->head)
        pack_head(&conv->spec, weight, packed);
    else if (!pack_direction(conv, KN_FWD, weight, at, error))
        return false;
    return pack_direction(conv, KN_BWD_DATA, weight, at + p.fwd, error);
}

bool kn_cpu_conv_fwd(kn_conv *conv, const void *packed, const kn_tensor *src, const kn_tensor *dst,
                     void *scratch, GError **error)
{
    packed_sizes p = packed_of(conv);
    const char *at = packed;
    const float *bias = (const float *)(at + p.fwd + p.bwd_data);
    if (conv->head) {
        kn_cpu_passes(conv->engine, src)->head_fwd(conv->engine, src, packed, bias, dst);
        return true;
    }
    if (conv->own[KN_FWD]) {
        run_own(conv->engine, &conv->spec, conv->own[KN_FWD], KN_FWD, src->data, at, bias,
                dst->data, scratch, NULL);
        return true;
    }
    int step = conv->chunk[KN_FWD];
    size_t narrow = narrowed_src_bytes(&conv->spec, KN_FWD);
    kn_tensor from = narrowed(conv, src, narrow, scratch);
    for (int i = 0; i < conv->spec.n; i += step) {
        kn_tensor x = kn_tensor_images(&from, i, step), y = kn_tensor_images(dst, i, step);
        if (!kn_prim_run(conv->prim[KN_FWD], x.data, at, bias, y.data, (char *)scratch + narrow,
                         error))
            return false;
        if (conv->leaky_after)
            kn_cpu_of(conv->engine)
                ->passes->leaky(kn_f32(&y), kn_pixels(&y) * y.c, (float)KN_LEAKY_SLOPE);
    }
    return true;
}

static void own_bwd_data(const kn_conv *conv, const void *packed, const kn_tensor *ddst,
                         const kn_tensor *dsrc, void *scratch, const kn_beside *with)
{
    own_kind kind = conv->own[KN_BWD_DATA];
    if (kind == OWN_HEAD)
        kn_cpu_passes(conv->engine, dsrc)->head_bwd_data(conv->engine, ddst, packed, dsrc, with);
    else
        run_own(conv->engine, &conv->spec, kind, KN_BWD_DATA, dsrc->data,
                (const char *)packed + packed_of(conv).fwd, NULL, ddst->data, scratch, with);
}

bool kn_cpu_conv_bwd_data(kn_conv *conv, const void *packed, const kn_tensor *ddst,
                          const kn_tensor *dsrc, void *scratch, GError **error)
{
    const char *at = (const char *)packed + packed_of(conv).fwd;
    if (conv->own[KN_BWD_DATA]) {
        own_bwd_data(conv, packed, ddst, dsrc, scratch, NULL);
        return true;
    }
    int step = conv->chunk[KN_BWD_DATA];
    size_t narrow = narrowed_dst_bytes(&conv->spec, KN_BWD_DATA);
    kn_tensor from = narrowed(conv, ddst, narrow, scratch);
    for (int i = 0; i < conv->spec.n; i += step) {
        kn_tensor dy = kn_tensor_images(&from, i, step), dx = kn_tensor_images(dsrc, i, step);
        if (!kn_prim_run(conv->prim[KN_BWD_DATA], dx.data, at, NULL, dy.data,
                         (char *)scratch + narrow, error))
            return false;
    }
    return true;
}

static void own_bwd_weights(const kn_conv *conv, const kn_tensor *src, const kn_tensor *ddst,
                            float *dweight, void *scratch, const kn_beside *with)
{
    const kn_passes *passes = kn_cpu_passes(conv->engine, ddst);
    if (conv->own[KN_BWD_WEIGHTS] == OWN_STEM)
        passes->stem_bwd_weights(conv->engine, src, ddst, dweight, with);
    else
        passes->wino_bwd_weights(conv->engine, src, ddst, dweight, scratch, with);
}

bool kn_cpu_conv_bwd_weights(kn_conv *conv, const kn_tensor *src, const kn_tensor *ddst,
                             void *dweight, void *dbias, void *scratch, GError **error)
{
    const kn_conv_spec *s = &conv->spec;
    const kn_passes *passes = kn_cpu_of(conv->engine)->passes;
    if (conv->head) {
        kn_cpu_passes(conv->engine, src)
            ->head_bwd_weights(conv->engine, src, ddst, dweight, s->bias ? dbias : NULL);
        return true;
    }
    if (conv->own[KN_BWD_WEIGHTS]) {
        own_bwd_weights(conv, src, ddst, dweight, scratch, NULL);
        return true;
    }
    bwd_weights_sizes b = bwd_weights_of(conv);
    size_t narrow_src = narrowed_src_bytes(s, KN_BWD_WEIGHTS),
           narrow_dst = narrowed_dst_bytes(s, KN_BWD_WEIGHTS);
    kn_tensor x = narrowed(conv, src, narrow_src, scratch);
    kn_tensor dy = narrowed(conv, ddst, narrow_dst, (char *)scratch + narrow_src);
    char *own = (char *)scratch + narrow_src + narrow_dst, *packed = own + b.prim;
    void *plain = packed + b.packed, *bias = packed + b.packed + b.plain;
    if (!kn_prim_run(conv->prim[KN_BWD_WEIGHTS], x.data, packed, bias, dy.data, own, error) ||
        !kn_prim_unpack(conv->prim[KN_BWD_WEIGHTS], packed, plain, error))
        return false;
    passes->add(dweight, plain, (int64_t)s->oc * s->ic * s->k * s->k);
    if (dbias && s->bias)
        passes->add(dbias, bias, s->oc);
    return true;
}

/* ---- with the BatchNorm beside it
 * ------------------------------------------------------------------------- */

unsigned kn_cpu_conv_takes(const kn_conv *conv)
{
    bool before = conv->own[KN_FWD] == OWN_WINOGRAD &&
                  (!conv->spec.train || conv->own[KN_BWD_WEIGHTS] == OWN_WINOGRAD);
    /* Only Winograd writes the gradient, which bwd_data then reads. */
    bool applies = conv->own[KN_BWD_WEIGHTS] == (conv->spec.bwd_data ? OWN_WINOGRAD : OWN_STEM);
    return (before ? KN_TAKES_BEFORE : 0u) | (conv->own[KN_FWD] ? KN_TAKES_STATS : 0u) |
           (conv->own[KN_BWD_DATA] ? KN_TAKES_SUMS : 0u) | (applies ? KN_TAKES_APPLY : 0u);
}

void kn_cpu_conv_fwd_stats(kn_conv *conv, const void *packed, const kn_tensor *src,
                           const kn_tensor *dst, void *scratch, const kn_norm *norm,
                           const kn_norm *before)
{
    packed_sizes p = packed_of(conv);
    const float *bias = (const float *)((const char *)packed + p.fwd + p.bwd_data);
    kn_beside with = {KN_BESIDE_STATS, norm, NULL, NULL, before};
    run_own(conv->engine, &conv->spec, conv->own[KN_FWD], KN_FWD, src->data, packed, bias,
            dst->data, scratch, &with);
}

void kn_cpu_conv_bwd_data_sums(kn_conv *conv, const void *packed, const kn_tensor *ddst,
                               const kn_tensor *dsrc, void *scratch, const kn_norm *norm,
                               const kn_tensor *x)
{
    kn_beside with = {KN_BESIDE_SUMS, norm, x, NULL, NULL};
    own_bwd_data(conv, packed, ddst, dsrc, scratch, &with);
}

void kn_cpu_conv_bwd_weights_apply(kn_conv *conv, const kn_tensor *src, const kn_tensor *dy,
                                   const kn_tensor *x, const kn_norm *norm, const kn_tensor *ddst,
                                   void *dweight, void *scratch, const kn_norm *before)
{
    kn_beside with = {KN_BESIDE_APPLY, norm, x, dy, before};
    own_bwd_weights(conv, src, ddst, dweight, scratch, &with);
}
