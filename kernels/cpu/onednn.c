/* oneDNN 2.6's C API. Every tensor descriptor is dense and whole: on a descriptor of a part of a
 * buffer this version takes its reference implementation. */
#include "kernels/cpu/onednn.h"

#include "base/error.h"

#include <oneapi/dnnl/dnnl.h>
#include <string.h>

struct kn_dnnl {
    dnnl_engine_t engine;
    dnnl_stream_t stream;
    char *description;
};

enum { SRC, WEIGHTS, BIAS, DST, SCRATCH, N_MEMORIES };

struct kn_prim {
    kn_dnnl *dnnl; /* borrowed */
    kn_direction direction;
    dnnl_primitive_desc_t desc;
    dnnl_primitive_t primitive;
    dnnl_memory_t memory[N_MEMORIES]; /* BIAS may be NULL */
    dnnl_memory_t plain;              /* OIHW weights */
    dnnl_primitive_t reorder;         /* plain to WEIGHTS, or back for the gradient */
    size_t weight_bytes, scratch_bytes;
    char implementation[64];
};

const char *const kn_direction_names[3] = {"fwd", "bwd_d", "bwd_w"};

static const char *status_name(dnnl_status_t status)
{
    switch (status) {
    case dnnl_out_of_memory:
        return "out of memory";
    case dnnl_invalid_arguments:
        return "invalid arguments";
    case dnnl_unimplemented:
        return "unimplemented";
    case dnnl_runtime_error:
        return "runtime error";
    default:
        return "error";
    }
}

static bool check(dnnl_status_t status, const char *call, GError **error)
{
    if (status == dnnl_success)
        return true;
    g_set_error(error, QS_ERROR, status == dnnl_out_of_memory ? QS_ERROR_MEMORY : QS_ERROR_INTERNAL,
                "oneDNN: %s: %s (%d)", call, status_name(status), (int)status);
    return false;
}
#define TRY(call) check(call, #call, error)

static const char *isa_name(void)
{
    switch (dnnl_get_effective_cpu_isa()) {
    case dnnl_cpu_isa_sse41:
        return "SSE4.1";
    case dnnl_cpu_isa_avx:
        return "AVX";
    case dnnl_cpu_isa_avx2:
    case dnnl_cpu_isa_avx2_vnni:
        return "AVX2";
    case dnnl_cpu_isa_all:
        return "generic";
    default:
        return "AVX-512";
    }
}

bool kn_dnnl_has_winograd(void)
{
    return g_str_equal(isa_name(), "AVX-512");
}

bool kn_dnnl_has_bf16(void)
{
    switch (dnnl_get_effective_cpu_isa()) {
    case dnnl_cpu_isa_avx512_core_bf16:
    case dnnl_cpu_isa_avx512_core_amx:
        return true;
    default:
        return false;
    }
}

kn_dnnl *kn_dnnl_open(GError **error)
{
    kn_dnnl *dnnl = g_new0(kn_dnnl, 1);
    if (!TRY(dnnl_engine_create(&dnnl->engine, dnnl_cpu, 0)) ||
        !TRY(dnnl_stream_create(&dnnl->stream, dnnl->engine, dnnl_stream_default_flags))) {
        kn_dnnl_close(dnnl);
        return NULL;
    }
    const dnnl_version_t *v = dnnl_version();
    dnnl->description =
        g_strdup_printf("oneDNN %d.%d.%d, %s", v->major, v->minor, v->patch, isa_name());
    return dnnl;
}

void kn_dnnl_close(kn_dnnl *dnnl)
{
    if (!dnnl)
        return;
    if (dnnl->stream)
        dnnl_stream_destroy(dnnl->stream);
    if (dnnl->engine)
        dnnl_engine_destroy(dnnl->engine);
    g_free(dnnl->description);
    g_free(dnnl);
}

const char *kn_dnnl_describe(const kn_dnnl *dnnl)
{
    return dnnl->description;
}

/* ---- descriptors
 * ---------------------------------------------------------------------------------- */

typedef struct {
    dnnl_memory_desc_t src, weights, bias, dst;
    bool has_bias;
} conv_descs;

static dnnl_data_type_t type_of(kn_dtype dtype)
{
    return dtype == KN_BF16 ? dnnl_bf16 : dnnl_f32;
}

/* Weights are of the type that the direction computes in, their gradient is f32. */
static bool init_descs(const kn_conv_spec *s, kn_direction direction, bool winograd, conv_descs *d,
                       GError **error)
{
    kn_dtype weight_type = direction == KN_FWD        ? s->src_type
                           : direction == KN_BWD_DATA ? s->dst_type
                                                      : KN_F32;
    const dnnl_dims_t src = {s->n, s->ic, s->h, s->w}, dst = {s->n, s->oc, s->h, s->w};
    const dnnl_dims_t weights = {s->oc, s->ic, s->k, s->k}, bias = {s->oc};
    /* 16 dense channels are the same bytes in both layouts; take the name that the rest needs. */
    bool blocks = winograd || s->src_block || s->dst_block;
    dnnl_format_tag_t src_tag = s->src_block || (blocks && s->ic == 16) ? dnnl_nChw16c : dnnl_nhwc;
    dnnl_format_tag_t dst_tag = s->dst_block || (blocks && s->oc == 16) ? dnnl_nChw16c : dnnl_nhwc;
    d->has_bias = s->bias;
    return TRY(dnnl_memory_desc_init_by_tag(&d->src, 4, src, type_of(s->src_type), src_tag)) &&
           TRY(dnnl_memory_desc_init_by_tag(&d->dst, 4, dst, type_of(s->dst_type), dst_tag)) &&
           TRY(dnnl_memory_desc_init_by_tag(&d->weights, 4, weights, type_of(weight_type),
                                            dnnl_format_tag_any)) &&
           TRY(dnnl_memory_desc_init_by_tag(&d->bias, 1, bias, dnnl_f32, dnnl_a));
}

static dnnl_status_t init_conv(const kn_conv_spec *s, kn_direction direction,
                               dnnl_alg_kind_t algorithm, const conv_descs *d,
                               dnnl_convolution_desc_t *conv)
{
    const dnnl_dims_t stride = {1, 1}, pad = {s->k / 2, s->k / 2};
    const dnnl_memory_desc_t *bias = d->has_bias ? &d->bias : NULL;
    switch (direction) {
    case KN_FWD:
        return dnnl_convolution_forward_desc_init(
            conv, s->train ? dnnl_forward_training : dnnl_forward_inference, algorithm, &d->src,
            &d->weights, bias, &d->dst, stride, pad, pad);
    case KN_BWD_DATA:
        return dnnl_convolution_backward_data_desc_init(conv, algorithm, &d->src, &d->weights,
                                                        &d->dst, stride, pad, pad);
    case KN_BWD_WEIGHTS:
        return dnnl_convolution_backward_weights_desc_init(conv, algorithm, &d->src, &d->weights,
                                                           bias, &d->dst, stride, pad, pad);
    }
    return dnnl_invalid_arguments;
}

static bool init_attr(const kn_conv_spec *s, kn_direction direction, dnnl_primitive_attr_t *attr,
                      GError **error)
{
    if (!TRY(dnnl_primitive_attr_create(attr)) ||
        !TRY(dnnl_primitive_attr_set_scratchpad_mode(*attr, dnnl_scratchpad_mode_user)))
        return false;
    if (!s->leaky || direction != KN_FWD)
        return true;
    dnnl_post_ops_t ops = NULL;
    bool ok =
        TRY(dnnl_post_ops_create(&ops)) &&
        TRY(dnnl_post_ops_append_eltwise(ops, 1.0f, dnnl_eltwise_relu, (float)KN_LEAKY_SLOPE, 0)) &&
        TRY(dnnl_primitive_attr_set_post_ops(*attr, ops));
    if (ops)
        dnnl_post_ops_destroy(ops);
    return ok;
}

/* The first implementation that is not a reference one; *desc NULL when there is none. */
static bool find_desc(kn_dnnl *dnnl, const kn_conv_spec *s, kn_direction direction, bool winograd,
                      dnnl_primitive_desc_t *desc, GError **error)
{
    conv_descs d, of_hint;
    dnnl_primitive_attr_t attr = NULL, plain = NULL;
    dnnl_primitive_desc_t hint = NULL;
    dnnl_primitive_desc_iterator_t at = NULL;
    dnnl_convolution_desc_t conv, fwd;
    dnnl_alg_kind_t algorithm = winograd ? dnnl_convolution_winograd : dnnl_convolution_direct;
    *desc = NULL;
    bool ok = init_descs(s, direction, winograd, &d, error) &&
              init_attr(s, direction, &attr, error) &&
              TRY(init_conv(s, direction, algorithm, &d, &conv));
    if (ok && direction != KN_FWD) {
        kn_conv_spec train = *s;
        train.train = true;
        if (s->src_type == KN_BF16 || s->dst_type == KN_BF16)
            train.src_type = train.dst_type = KN_BF16;
        ok = init_descs(&train, KN_FWD, winograd, &of_hint, error) &&
             TRY(init_conv(&train, KN_FWD, dnnl_convolution_direct, &of_hint, &fwd)) &&
             TRY(dnnl_primitive_attr_create(&plain)) &&
             TRY(dnnl_primitive_desc_create(&hint, &fwd, plain, dnnl->engine, NULL));
    }
    dnnl_status_t status = dnnl_success;
    if (ok)
        status = dnnl_primitive_desc_iterator_create(&at, &conv, attr, dnnl->engine, hint);
    while (ok && status == dnnl_success) {
        dnnl_primitive_desc_t candidate = dnnl_primitive_desc_iterator_fetch(at);
        const char *name = "";
        if (candidate &&
            dnnl_primitive_desc_query(candidate, dnnl_query_impl_info_str, 0, &name) ==
                dnnl_success &&
            !strstr(name, "ref")) {
            *desc = candidate;
            break;
        }
        if (candidate)
            dnnl_primitive_desc_destroy(candidate);
        status = dnnl_primitive_desc_iterator_next(at);
    }
    if (ok && status != dnnl_success && status != dnnl_unimplemented &&
        status != dnnl_iterator_ends)
        ok = check(status, "dnnl_primitive_desc_iterator", error);
    if (at)
        dnnl_primitive_desc_iterator_destroy(at);
    if (hint)
        dnnl_primitive_desc_destroy(hint);
    if (plain)
        dnnl_primitive_attr_destroy(plain);
    if (attr)
        dnnl_primitive_attr_destroy(attr);
    return ok;
}

/* ---- primitives
 * ----------------------------------------------------------------------------------- */

static bool make_memory(kn_prim *prim, int which, dnnl_query_t query, GError **error)
{
    const dnnl_memory_desc_t *md = dnnl_primitive_desc_query_md(prim->desc, query, 0);
    return TRY(dnnl_memory_create(&prim->memory[which], md, prim->dnnl->engine, DNNL_MEMORY_NONE));
}

static bool make_reorder(kn_prim *prim, const kn_conv_spec *s, dnnl_query_t query, GError **error)
{
    const dnnl_dims_t dims = {s->oc, s->ic, s->k, s->k};
    const dnnl_memory_desc_t *packed = dnnl_primitive_desc_query_md(prim->desc, query, 0);
    dnnl_memory_desc_t plain;
    dnnl_primitive_desc_t desc = NULL;
    bool back = prim->direction == KN_BWD_WEIGHTS;
    prim->weight_bytes = dnnl_memory_desc_get_size(packed);
    bool ok =
        TRY(dnnl_memory_desc_init_by_tag(&plain, 4, dims, dnnl_f32, dnnl_oihw)) &&
        TRY(dnnl_memory_create(&prim->plain, &plain, prim->dnnl->engine, DNNL_MEMORY_NONE)) &&
        TRY(dnnl_reorder_primitive_desc_create(&desc, back ? packed : &plain, prim->dnnl->engine,
                                               back ? &plain : packed, prim->dnnl->engine, NULL)) &&
        TRY(dnnl_primitive_create(&prim->reorder, desc));
    if (desc)
        dnnl_primitive_desc_destroy(desc);
    return ok;
}

static bool build(kn_prim *prim, const kn_conv_spec *s, GError **error)
{
    static const dnnl_query_t src[3] = {dnnl_query_src_md, dnnl_query_diff_src_md,
                                        dnnl_query_src_md};
    static const dnnl_query_t dst[3] = {dnnl_query_dst_md, dnnl_query_diff_dst_md,
                                        dnnl_query_diff_dst_md};
    kn_direction d = prim->direction;
    dnnl_query_t weights = d == KN_BWD_WEIGHTS ? dnnl_query_diff_weights_md : dnnl_query_weights_md;
    const char *name = "";
    if (!TRY(dnnl_primitive_desc_query(prim->desc, dnnl_query_impl_info_str, 0, &name)))
        return false;
    g_strlcpy(prim->implementation, name, sizeof prim->implementation);
    prim->scratch_bytes = dnnl_memory_desc_get_size(
        dnnl_primitive_desc_query_md(prim->desc, dnnl_query_scratchpad_md, 0));
    if (!TRY(dnnl_primitive_create(&prim->primitive, prim->desc)) ||
        !make_memory(prim, SRC, src[d], error) || !make_memory(prim, WEIGHTS, weights, error) ||
        !make_memory(prim, DST, dst[d], error) ||
        !make_memory(prim, SCRATCH, dnnl_query_scratchpad_md, error) ||
        !make_reorder(prim, s, weights, error))
        return false;
    if (!s->bias || d == KN_BWD_DATA)
        return true;
    const dnnl_dims_t dims = {s->oc};
    dnnl_memory_desc_t bias;
    return TRY(dnnl_memory_desc_init_by_tag(&bias, 1, dims, dnnl_f32, dnnl_a)) &&
           TRY(dnnl_memory_create(&prim->memory[BIAS], &bias, prim->dnnl->engine,
                                  DNNL_MEMORY_NONE));
}

kn_prim *kn_prim_create(kn_dnnl *dnnl, const kn_conv_spec *spec, kn_direction direction,
                        bool winograd, GError **error)
{
    dnnl_primitive_desc_t desc = NULL;
    if (!find_desc(dnnl, spec, direction, winograd, &desc, error) || !desc)
        return NULL;
    kn_prim *prim = g_new0(kn_prim, 1);
    prim->dnnl = dnnl;
    prim->direction = direction;
    prim->desc = desc;
    if (!build(prim, spec, error)) {
        g_prefix_error(error, "convolution %s (%s): ", spec->name, kn_direction_names[direction]);
        kn_prim_destroy(prim);
        return NULL;
    }
    return prim;
}

void kn_prim_destroy(kn_prim *prim)
{
    if (!prim)
        return;
    for (int i = 0; i < N_MEMORIES; i++)
        if (prim->memory[i])
            dnnl_memory_destroy(prim->memory[i]);
    if (prim->plain)
        dnnl_memory_destroy(prim->plain);
    if (prim->reorder)
        dnnl_primitive_destroy(prim->reorder);
    if (prim->primitive)
        dnnl_primitive_destroy(prim->primitive);
    dnnl_primitive_desc_destroy(prim->desc);
    g_free(prim);
}

const char *kn_prim_implementation(const kn_prim *prim)
{
    return prim->implementation;
}

size_t kn_prim_scratch_bytes(const kn_prim *prim)
{
    return prim->scratch_bytes;
}

size_t kn_prim_weight_bytes(const kn_prim *prim)
{
    return prim->weight_bytes;
}

/* oneDNN's handles are not const even where they are only read. */
static bool set_handle(kn_prim *prim, dnnl_memory_t memory, const void *data, GError **error)
{
    union {
        const void *in;
        void *out;
    } pointer = {data};
    return TRY(dnnl_memory_set_data_handle_v2(memory, pointer.out, prim->dnnl->stream));
}

static bool execute(kn_prim *prim, dnnl_primitive_t primitive, int n, const dnnl_exec_arg_t *args,
                    GError **error)
{
    return TRY(dnnl_primitive_execute(primitive, prim->dnnl->stream, n, args)) &&
           TRY(dnnl_stream_wait(prim->dnnl->stream));
}

bool kn_prim_pack(kn_prim *prim, const float *oihw, void *packed, GError **error)
{
    const dnnl_exec_arg_t args[2] = {{DNNL_ARG_FROM, prim->plain},
                                     {DNNL_ARG_TO, prim->memory[WEIGHTS]}};
    return set_handle(prim, prim->plain, oihw, error) &&
           set_handle(prim, prim->memory[WEIGHTS], packed, error) &&
           execute(prim, prim->reorder, 2, args, error);
}

bool kn_prim_unpack(kn_prim *prim, const void *packed, float *oihw, GError **error)
{
    const dnnl_exec_arg_t args[2] = {{DNNL_ARG_FROM, prim->memory[WEIGHTS]},
                                     {DNNL_ARG_TO, prim->plain}};
    return set_handle(prim, prim->plain, oihw, error) &&
           set_handle(prim, prim->memory[WEIGHTS], packed, error) &&
           execute(prim, prim->reorder, 2, args, error);
}

bool kn_prim_run(kn_prim *prim, const void *src, const void *weights, const void *bias,
                 const void *dst, void *scratch, GError **error)
{
    static const int names[3][4] = {
        {DNNL_ARG_SRC, DNNL_ARG_WEIGHTS, DNNL_ARG_BIAS, DNNL_ARG_DST},
        {DNNL_ARG_DIFF_SRC, DNNL_ARG_WEIGHTS, DNNL_ARG_BIAS, DNNL_ARG_DIFF_DST},
        {DNNL_ARG_SRC, DNNL_ARG_DIFF_WEIGHTS, DNNL_ARG_DIFF_BIAS, DNNL_ARG_DIFF_DST},
    };
    const void *data[4] = {src, weights, bias, dst};
    dnnl_exec_arg_t args[5];
    int n = 0;
    for (int i = 0; i < 4; i++) {
        if (!prim->memory[i])
            continue;
        if (!set_handle(prim, prim->memory[i], data[i], error))
            return false;
        args[n++] = (dnnl_exec_arg_t){names[prim->direction][i], prim->memory[i]};
    }
    if (!set_handle(prim, prim->memory[SCRATCH], scratch, error))
        return false;
    args[n++] = (dnnl_exec_arg_t){DNNL_ARG_SCRATCHPAD, prim->memory[SCRATCH]};
    return execute(prim, prim->primitive, n, args, error);
}
