/* cuDNN's graph ("backend") API in C. A convolution is a graph of one to three operations:
 *
 *   forward       y = conv(x, w)            or, with an epilogue,
 *                 t = conv(x, w), u = t + bias, y = max(u, .01·u)     t, u: virtual, f32
 *   data          dx = conv_bwd_data(dy, w)
 *   weights       dw = conv_bwd_filter(x, dy)
 *
 * graph → engine heuristics → engine configurations → execution plans. A plan's name is its
 * engine's number and its knobs, from which the same configuration is built again without
 * heuristics.
 *
 * Every object of the library is a descriptor; those that a plan needs are kept in its list and
 * destroyed with it, newest first. The API gives statuses; the first that fails fails the whole
 * graph, with cuDNN's own words. Functions are found by name at run time (cudnn_plan.h says why).
 */
#include "kernels/cuda/cudnn_plan.h"

#include "base/error.h"

#include <cudnn.h>
#include <dlfcn.h>
#include <string.h>

#ifndef QS_CUDNN_LIBRARY
#define QS_CUDNN_LIBRARY ""
#endif

enum { VERSION_MIN = 90000, DESCRIPTORS_MAX = 64, KNOBS_MAX = 32 };
enum { UID_A = 'a', UID_B = 'b', UID_BIAS = 'c', UID_OUT = 'o', UID_T = 't', UID_U = 'u' };

typedef cudnnBackendDescriptor_t descriptor;

/* The functions that are used, by name. */
typedef struct {
    size_t (*version)(void);
    cudnnStatus_t (*create)(cudnnHandle_t *);
    cudnnStatus_t (*destroy)(cudnnHandle_t);
    cudnnStatus_t (*set_stream)(cudnnHandle_t, cudaStream_t);
    const char *(*error_string)(cudnnStatus_t);
    void (*last_error)(char *, size_t);
    cudnnStatus_t (*create_descriptor)(cudnnBackendDescriptorType_t, descriptor *);
    cudnnStatus_t (*destroy_descriptor)(descriptor);
    cudnnStatus_t (*set)(descriptor, cudnnBackendAttributeName_t, cudnnBackendAttributeType_t,
                         int64_t, const void *);
    cudnnStatus_t (*get)(const descriptor, cudnnBackendAttributeName_t, cudnnBackendAttributeType_t,
                         int64_t, int64_t *, void *);
    cudnnStatus_t (*finalize)(descriptor);
    cudnnStatus_t (*execute)(cudnnHandle_t, descriptor, descriptor);
} functions;

struct kn_cudnn {
    void *library;
    functions f;
    cudnnHandle_t handle;
    kn_device *driven; /* borrowed; NULL: none, plans are only asked for */
    descriptor device; /* properties of a device that is not here; NULL: the handle's */
};

struct kn_cudnn_plan {
    kn_cudnn *cudnn; /* borrowed */
    descriptor owned[DESCRIPTORS_MAX];
    int n_owned;
    descriptor graph, config, plan;
    char *name;
    int64_t workspace;
    bool epilogue;
};

/* ---- the library
 * --------------------------------------------------------------------------------- */

static bool find_functions(kn_cudnn *c, GError **error)
{
    struct {
        const char *name;
        void *at;
    } wanted[] = {
        {"cudnnGetVersion", &c->f.version},
        {"cudnnCreate", &c->f.create},
        {"cudnnDestroy", &c->f.destroy},
        {"cudnnSetStream", &c->f.set_stream},
        {"cudnnGetErrorString", &c->f.error_string},
        {"cudnnGetLastErrorString", &c->f.last_error},
        {"cudnnBackendCreateDescriptor", &c->f.create_descriptor},
        {"cudnnBackendDestroyDescriptor", &c->f.destroy_descriptor},
        {"cudnnBackendSetAttribute", &c->f.set},
        {"cudnnBackendGetAttribute", &c->f.get},
        {"cudnnBackendFinalize", &c->f.finalize},
        {"cudnnBackendExecute", &c->f.execute},
    };
    for (size_t i = 0; i < G_N_ELEMENTS(wanted); i++) {
        void *symbol = dlsym(c->library, wanted[i].name);
        if (!symbol) {
            g_set_error(error, QS_ERROR, QS_ERROR_UNSUPPORTED, "cuDNN: the library has no %s",
                        wanted[i].name);
            return false;
        }
        memcpy(wanted[i].at, &symbol, sizeof symbol);
    }
    if (c->f.version() >= VERSION_MIN)
        return true;
    g_set_error(error, QS_ERROR, QS_ERROR_UNSUPPORTED, "cuDNN %zu is too old: 9.0 is needed",
                c->f.version());
    return false;
}

/* The first of the environment's, the system's and the build's library that opens. */
static void *open_library(GError **error)
{
    const char *places[] = {g_getenv("QS_CUDNN"), "libcudnn.so.9", QS_CUDNN_LIBRARY};
    g_autoptr(GString) why = g_string_new(NULL);
    for (size_t i = 0; i < G_N_ELEMENTS(places); i++) {
        if (!places[i] || !places[i][0])
            continue;
        void *library = dlopen(places[i], RTLD_NOW | RTLD_LOCAL);
        if (library)
            return library;
        g_string_append_printf(why, "%s%s", why->len ? "; " : "", dlerror());
        if (i == 0)
            break; /* asked for by name: no other will do */
    }
    g_set_error(error, QS_ERROR, QS_ERROR_UNSUPPORTED,
                "cuDNN 9 was not found (%s); set QS_CUDNN to its libcudnn.so.9", why->str);
    return NULL;
}

static kn_cudnn *open_found(GError **error)
{
    kn_cudnn *c = g_new0(kn_cudnn, 1);
    c->library = open_library(error);
    if (c->library && find_functions(c, error))
        return c;
    kn_cudnn_close(c);
    return NULL;
}

static bool check(kn_cudnn *c, cudnnStatus_t status, const char *call, GError **error)
{
    char text[256] = "";
    if (status == CUDNN_STATUS_SUCCESS)
        return true;
    c->f.last_error(text, sizeof text);
    g_set_error(error, QS_ERROR, QS_ERROR_UNSUPPORTED, "cuDNN: %s: %s %s", call,
                c->f.error_string(status), text);
    return false;
}

kn_cudnn *kn_cudnn_open(kn_device *device, GError **error)
{
    kn_cudnn *c = open_found(error);
    if (c)
        c->driven = device;
    if (c && check(c, c->f.create(&c->handle), "cudnnCreate", error) &&
        check(c, c->f.set_stream(c->handle, kn_device_stream(device)), "cudnnSetStream", error))
        return c;
    kn_cudnn_close(c);
    return NULL;
}

kn_cudnn *kn_cudnn_open_for(const char *device_json, GError **error)
{
    kn_cudnn *c = open_found(error);
    if (c &&
        check(c, c->f.create_descriptor(CUDNN_BACKEND_DEVICEPROP_DESCRIPTOR, &c->device), "device",
              error) &&
        check(c,
              c->f.set(c->device, CUDNN_ATTR_DEVICEPROP_JSON_REPRESENTATION, CUDNN_TYPE_CHAR,
                       (int64_t)strlen(device_json), device_json),
              "device properties", error) &&
        check(c, c->f.finalize(c->device), "device properties", error))
        return c;
    kn_cudnn_close(c);
    return NULL;
}

void kn_cudnn_close(kn_cudnn *c)
{
    if (!c)
        return;
    if (c->device)
        c->f.destroy_descriptor(c->device);
    if (c->handle)
        c->f.destroy(c->handle);
    if (c->library)
        dlclose(c->library);
    g_free(c);
}

int kn_cudnn_version(const kn_cudnn *c)
{
    return (int)c->f.version();
}

/* ---- descriptors
 * --------------------------------------------------------------------------------- */

/* While a graph is built: what failed first. Later calls do nothing. */
typedef struct {
    kn_cudnn_plan *p;
    bool failed;
} builder;

static bool good(builder *b, cudnnStatus_t status)
{
    b->failed = b->failed || status != CUDNN_STATUS_SUCCESS;
    return !b->failed;
}

static descriptor make(builder *b, cudnnBackendDescriptorType_t type)
{
    descriptor d = NULL;
    kn_cudnn_plan *p = b->p;
    if (b->failed || p->n_owned == DESCRIPTORS_MAX ||
        !good(b, p->cudnn->f.create_descriptor(type, &d))) {
        b->failed = true;
        return NULL;
    }
    p->owned[p->n_owned++] = d;
    return d;
}

static void set(builder *b, descriptor d, cudnnBackendAttributeName_t name,
                cudnnBackendAttributeType_t type, int64_t n, const void *value)
{
    if (!b->failed)
        good(b, b->p->cudnn->f.set(d, name, type, n, value));
}

static void set_int(builder *b, descriptor d, cudnnBackendAttributeName_t name, int64_t value)
{
    set(b, d, name, CUDNN_TYPE_INT64, 1, &value);
}

static void set_descriptor(builder *b, descriptor d, cudnnBackendAttributeName_t name,
                           descriptor value)
{
    set(b, d, name, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &value);
}

static descriptor finish(builder *b, descriptor d)
{
    if (!b->failed)
        good(b, b->p->cudnn->f.finalize(d));
    return d;
}

/* (n,c,h,w) dimensions in NHWC order of memory. */
static descriptor tensor(builder *b, int64_t uid, cudnnDataType_t type, int n, int c, int h, int w,
                         bool is_virtual)
{
    const int64_t dims[4] = {n, c, h, w};
    const int64_t strides[4] = {(int64_t)h * w * c, 1, (int64_t)w * c, c};
    descriptor d = make(b, CUDNN_BACKEND_TENSOR_DESCRIPTOR);
    set(b, d, CUDNN_ATTR_TENSOR_DATA_TYPE, CUDNN_TYPE_DATA_TYPE, 1, &type);
    set(b, d, CUDNN_ATTR_TENSOR_DIMENSIONS, CUDNN_TYPE_INT64, 4, dims);
    set(b, d, CUDNN_ATTR_TENSOR_STRIDES, CUDNN_TYPE_INT64, 4, strides);
    set_int(b, d, CUDNN_ATTR_TENSOR_UNIQUE_ID, uid);
    set_int(b, d, CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT, 16);
    if (is_virtual)
        set(b, d, CUDNN_ATTR_TENSOR_IS_VIRTUAL, CUDNN_TYPE_BOOLEAN, 1, &is_virtual);
    return finish(b, d);
}

static descriptor convolution(builder *b, int k)
{
    const cudnnDataType_t compute = CUDNN_DATA_FLOAT;
    const cudnnConvolutionMode_t mode = CUDNN_CROSS_CORRELATION;
    const int64_t ones[2] = {1, 1}, pads[2] = {(k - 1) / 2, (k - 1) / 2};
    descriptor d = make(b, CUDNN_BACKEND_CONVOLUTION_DESCRIPTOR);
    set(b, d, CUDNN_ATTR_CONVOLUTION_COMP_TYPE, CUDNN_TYPE_DATA_TYPE, 1, &compute);
    set(b, d, CUDNN_ATTR_CONVOLUTION_CONV_MODE, CUDNN_TYPE_CONVOLUTION_MODE, 1, &mode);
    set_int(b, d, CUDNN_ATTR_CONVOLUTION_SPATIAL_DIMS, 2);
    set(b, d, CUDNN_ATTR_CONVOLUTION_DILATIONS, CUDNN_TYPE_INT64, 2, ones);
    set(b, d, CUDNN_ATTR_CONVOLUTION_FILTER_STRIDES, CUDNN_TYPE_INT64, 2, ones);
    set(b, d, CUDNN_ATTR_CONVOLUTION_PRE_PADDINGS, CUDNN_TYPE_INT64, 2, pads);
    set(b, d, CUDNN_ATTR_CONVOLUTION_POST_PADDINGS, CUDNN_TYPE_INT64, 2, pads);
    return finish(b, d);
}

/* y = x + bias, or y = max(x, .01·x) when bias is NULL. */
static descriptor pointwise(builder *b, descriptor x, descriptor bias, descriptor y)
{
    const cudnnDataType_t compute = CUDNN_DATA_FLOAT;
    const cudnnPointwiseMode_t mode = bias ? CUDNN_POINTWISE_ADD : CUDNN_POINTWISE_RELU_FWD;
    const double slope = 0.01;
    descriptor how = make(b, CUDNN_BACKEND_POINTWISE_DESCRIPTOR);
    set(b, how, CUDNN_ATTR_POINTWISE_MODE, CUDNN_TYPE_POINTWISE_MODE, 1, &mode);
    set(b, how, CUDNN_ATTR_POINTWISE_MATH_PREC, CUDNN_TYPE_DATA_TYPE, 1, &compute);
    if (!bias)
        set(b, how, CUDNN_ATTR_POINTWISE_RELU_LOWER_CLIP_SLOPE, CUDNN_TYPE_DOUBLE, 1, &slope);
    finish(b, how);
    descriptor d = make(b, CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR);
    set_descriptor(b, d, CUDNN_ATTR_OPERATION_POINTWISE_PW_DESCRIPTOR, how);
    set_descriptor(b, d, CUDNN_ATTR_OPERATION_POINTWISE_XDESC, x);
    if (bias)
        set_descriptor(b, d, CUDNN_ATTR_OPERATION_POINTWISE_BDESC, bias);
    set_descriptor(b, d, CUDNN_ATTR_OPERATION_POINTWISE_YDESC, y);
    return finish(b, d);
}

/* The attributes of the three operations, in one order: convolution, alpha, beta, then the tensors
 * a, b, out of cudnn_plan.h. */
static const struct {
    cudnnBackendDescriptorType_t type;
    cudnnBackendAttributeName_t conv, alpha, beta, a, b, out;
} operations[] = {
    {CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR,
     CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_CONV_DESC,
     CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_ALPHA, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_BETA,
     CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_X, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_W,
     CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_Y},
    {CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_DATA_DESCRIPTOR,
     CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_CONV_DESC,
     CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_ALPHA,
     CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_BETA, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DY,
     CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_W, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DX},
    {CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_FILTER_DESCRIPTOR,
     CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_CONV_DESC,
     CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_ALPHA,
     CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_BETA,
     CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_X, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DY,
     CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DW},
};

static descriptor conv_operation(builder *b, const kn_cudnn_shape *s, kn_cudnn_direction direction,
                                 descriptor out)
{
    cudnnDataType_t io = s->io == KN_BF16 ? CUDNN_DATA_BFLOAT16 : CUDNN_DATA_FLOAT;
    const float one = 1, zero = 0;
    bool weights = direction == KN_CUDNN_BWD_WEIGHTS, data = direction == KN_CUDNN_BWD_DATA;
    descriptor a = tensor(b, UID_A, io, s->n, data ? s->oc : s->ic, s->h, s->w, false);
    descriptor second = weights ? tensor(b, UID_B, io, s->n, s->oc, s->h, s->w, false)
                                : tensor(b, UID_B, io, s->oc, s->ic, s->k, s->k, false);
    descriptor conv = convolution(b, s->k);
    descriptor d = make(b, operations[direction].type);
    set_descriptor(b, d, operations[direction].conv, conv);
    set_descriptor(b, d, operations[direction].a, a);
    set_descriptor(b, d, operations[direction].b, second);
    set_descriptor(b, d, operations[direction].out, out);
    set(b, d, operations[direction].alpha, CUDNN_TYPE_FLOAT, 1, &one);
    set(b, d, operations[direction].beta, CUDNN_TYPE_FLOAT, 1, &zero);
    return finish(b, d);
}

static void build_graph(builder *b, const kn_cudnn_shape *s, kn_cudnn_direction direction)
{
    cudnnDataType_t io = s->io == KN_BF16 ? CUDNN_DATA_BFLOAT16 : CUDNN_DATA_FLOAT;
    descriptor ops[3];
    int n_ops = 0;
    if (direction == KN_CUDNN_BWD_WEIGHTS) {
        descriptor dw = tensor(b, UID_OUT, io, s->oc, s->ic, s->k, s->k, false);
        ops[n_ops++] = conv_operation(b, s, direction, dw);
    } else {
        int c = direction == KN_CUDNN_BWD_DATA ? s->ic : s->oc;
        descriptor out = tensor(b, UID_OUT, io, s->n, c, s->h, s->w, false);
        if (s->epilogue) {
            descriptor t = tensor(b, UID_T, CUDNN_DATA_FLOAT, s->n, c, s->h, s->w, true);
            descriptor bias = tensor(b, UID_BIAS, CUDNN_DATA_FLOAT, 1, c, 1, 1, false);
            descriptor u =
                s->leaky ? tensor(b, UID_U, CUDNN_DATA_FLOAT, s->n, c, s->h, s->w, true) : out;
            ops[n_ops++] = conv_operation(b, s, direction, t);
            ops[n_ops++] = pointwise(b, t, bias, u);
            if (s->leaky)
                ops[n_ops++] = pointwise(b, u, NULL, out);
        } else {
            ops[n_ops++] = conv_operation(b, s, direction, out);
        }
    }
    kn_cudnn *c = b->p->cudnn;
    b->p->graph = make(b, CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR);
    set(b, b->p->graph, CUDNN_ATTR_OPERATIONGRAPH_OPS, CUDNN_TYPE_BACKEND_DESCRIPTOR, n_ops, ops);
    if (c->handle)
        set(b, b->p->graph, CUDNN_ATTR_OPERATIONGRAPH_HANDLE, CUDNN_TYPE_HANDLE, 1, &c->handle);
    finish(b, b->p->graph);
    b->p->epilogue = s->epilogue;
}

/* ---- plans
 * --------------------------------------------------------------------------------------- */

static kn_cudnn_plan *plan_new(kn_cudnn *cudnn)
{
    kn_cudnn_plan *p = g_new0(kn_cudnn_plan, 1);
    p->cudnn = cudnn;
    return p;
}

void kn_cudnn_plan_destroy(kn_cudnn_plan *p)
{
    if (!p)
        return;
    for (int i = p->n_owned - 1; i >= 0; i--)
        p->cudnn->f.destroy_descriptor(p->owned[i]);
    g_free(p->name);
    g_free(p);
}

/* "e5.k2=1.k7=3" of a configuration; NULL when it is nondeterministic or does not say. */
static char *config_name(builder *b, descriptor config)
{
    functions *f = &b->p->cudnn->f;
    descriptor engine = make(b, CUDNN_BACKEND_ENGINE_DESCRIPTOR), knobs[KNOBS_MAX];
    cudnnBackendNumericalNote_t notes[CUDNN_NUMERICAL_NOTE_TYPE_COUNT];
    int64_t n = 0, index = 0;
    if (b->failed ||
        !good(b, f->get(config, CUDNN_ATTR_ENGINECFG_ENGINE, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &n,
                        &engine)) ||
        !good(b, f->get(engine, CUDNN_ATTR_ENGINE_GLOBAL_INDEX, CUDNN_TYPE_INT64, 1, &n, &index)) ||
        !good(b, f->get(engine, CUDNN_ATTR_ENGINE_NUMERICAL_NOTE, CUDNN_TYPE_NUMERICAL_NOTE,
                        G_N_ELEMENTS(notes), &n, notes)))
        return NULL;
    for (int64_t i = 0; i < n; i++)
        if (notes[i] == CUDNN_NUMERICAL_NOTE_NONDETERMINISTIC)
            return NULL;
    GString *name = g_string_new(NULL);
    g_string_printf(name, "e%d", (int)index);
    for (int i = 0; i < KNOBS_MAX; i++)
        knobs[i] = make(b, CUDNN_BACKEND_KNOB_CHOICE_DESCRIPTOR);
    if (!b->failed)
        good(b, f->get(config, CUDNN_ATTR_ENGINECFG_KNOB_CHOICES, CUDNN_TYPE_BACKEND_DESCRIPTOR,
                       KNOBS_MAX, &n, knobs));
    for (int64_t i = 0; i < n && !b->failed; i++) {
        cudnnBackendKnobType_t type;
        int64_t value, got;
        if (good(b, f->get(knobs[i], CUDNN_ATTR_KNOB_CHOICE_KNOB_TYPE, CUDNN_TYPE_KNOB_TYPE, 1,
                           &got, &type)) &&
            good(b, f->get(knobs[i], CUDNN_ATTR_KNOB_CHOICE_KNOB_VALUE, CUDNN_TYPE_INT64, 1, &got,
                           &value)))
            g_string_append_printf(name, ".k%d=%" G_GINT64_FORMAT, (int)type, value);
    }
    return g_string_free(name, b->failed);
}

/* The configuration that a name says. */
static descriptor config_named(builder *b, const char *name)
{
    g_auto(GStrv) parts = g_strsplit(name, ".", -1);
    descriptor knobs[KNOBS_MAX];
    int n = 0;
    gint64 index = 0;
    if (!parts[0] || parts[0][0] != 'e' ||
        !g_ascii_string_to_signed(parts[0] + 1, 10, 0, G_MAXINT, &index, NULL)) {
        b->failed = true;
        return NULL;
    }
    descriptor engine = make(b, CUDNN_BACKEND_ENGINE_DESCRIPTOR);
    set_descriptor(b, engine, CUDNN_ATTR_ENGINE_OPERATION_GRAPH, b->p->graph);
    set_int(b, engine, CUDNN_ATTR_ENGINE_GLOBAL_INDEX, index);
    if (b->p->cudnn->device)
        set_descriptor(b, engine, CUDNN_ATTR_ENGINE_DEVICEPROP, b->p->cudnn->device);
    finish(b, engine);
    for (int i = 1; parts[i] && n < KNOBS_MAX; i++) {
        char *equal = strchr(parts[i], '=');
        cudnnBackendKnobType_t type =
            (cudnnBackendKnobType_t)g_ascii_strtoll(parts[i] + 1, NULL, 10);
        if (parts[i][0] != 'k' || !equal)
            b->failed = true;
        knobs[n] = make(b, CUDNN_BACKEND_KNOB_CHOICE_DESCRIPTOR);
        set(b, knobs[n], CUDNN_ATTR_KNOB_CHOICE_KNOB_TYPE, CUDNN_TYPE_KNOB_TYPE, 1, &type);
        set_int(b, knobs[n], CUDNN_ATTR_KNOB_CHOICE_KNOB_VALUE,
                equal ? g_ascii_strtoll(equal + 1, NULL, 10) : 0);
        finish(b, knobs[n++]);
    }
    descriptor config = make(b, CUDNN_BACKEND_ENGINECFG_DESCRIPTOR);
    set_descriptor(b, config, CUDNN_ATTR_ENGINECFG_ENGINE, engine);
    if (n > 0)
        set(b, config, CUDNN_ATTR_ENGINECFG_KNOB_CHOICES, CUDNN_TYPE_BACKEND_DESCRIPTOR, n, knobs);
    return finish(b, config);
}

static void build_plan(builder *b, descriptor config, const char *name)
{
    kn_cudnn *c = b->p->cudnn;
    int64_t n = 0;
    b->p->plan = make(b, CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR);
    set_descriptor(b, b->p->plan, CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG, config);
    if (c->device)
        set_descriptor(b, b->p->plan, CUDNN_ATTR_EXECUTION_PLAN_DEVICEPROP, c->device);
    else
        set(b, b->p->plan, CUDNN_ATTR_EXECUTION_PLAN_HANDLE, CUDNN_TYPE_HANDLE, 1, &c->handle);
    finish(b, b->p->plan);
    if (!b->failed)
        good(b, c->f.get(b->p->plan, CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE, CUDNN_TYPE_INT64, 1,
                         &n, &b->p->workspace));
    b->p->name = g_strdup(name);
}

kn_cudnn_plan *kn_cudnn_plan_named(kn_cudnn *cudnn, const kn_cudnn_shape *shape,
                                   kn_cudnn_direction direction, const char *name)
{
    builder b = {.p = plan_new(cudnn)};
    build_graph(&b, shape, direction);
    descriptor config = b.failed ? NULL : config_named(&b, name);
    if (!b.failed)
        build_plan(&b, config, name);
    if (!b.failed)
        return b.p;
    kn_cudnn_plan_destroy(b.p);
    return NULL;
}

/* Names of what the heuristics of `mode` offer, appended to `names`. */
static void ask(kn_cudnn *c, const kn_cudnn_shape *shape, kn_cudnn_direction direction,
                cudnnBackendHeurMode_t mode, GPtrArray *names, int most)
{
    builder b = {.p = plan_new(c)};
    build_graph(&b, shape, direction);
    descriptor heuristics = make(&b, CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR);
    set_descriptor(&b, heuristics, CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH, b.p->graph);
    set(&b, heuristics, CUDNN_ATTR_ENGINEHEUR_MODE, CUDNN_TYPE_HEUR_MODE, 1, &mode);
    if (c->device)
        set_descriptor(&b, heuristics, CUDNN_ATTR_ENGINEHEUR_DEVICEPROP, c->device);
    finish(&b, heuristics);
    int64_t n = 0;
    descriptor configs[16];
    most = MIN(most, (int)G_N_ELEMENTS(configs));
    for (int i = 0; i < most; i++)
        configs[i] = make(&b, CUDNN_BACKEND_ENGINECFG_DESCRIPTOR);
    if (!b.failed)
        good(&b, c->f.get(heuristics, CUDNN_ATTR_ENGINEHEUR_RESULTS, CUDNN_TYPE_BACKEND_DESCRIPTOR,
                          most, &n, configs));
    for (int64_t i = 0; i < n && !b.failed; i++) {
        builder one = {.p = plan_new(c)};
        char *name = config_name(&one, configs[i]);
        kn_cudnn_plan_destroy(one.p);
        if (name && !g_ptr_array_find_with_equal_func(names, name, g_str_equal, NULL))
            g_ptr_array_add(names, name);
        else
            g_free(name);
    }
    kn_cudnn_plan_destroy(b.p);
}

int kn_cudnn_plans(kn_cudnn *cudnn, const kn_cudnn_shape *shape, kn_cudnn_direction direction,
                   size_t workspace_most, kn_cudnn_plan **plans, int most)
{
    g_autoptr(GPtrArray) names = g_ptr_array_new_with_free_func(g_free);
    int n = 0;
    ask(cudnn, shape, direction, CUDNN_HEUR_MODE_A, names, 2 * most);
    if (names->len == 0)
        ask(cudnn, shape, direction, CUDNN_HEUR_MODE_FALLBACK, names, most);
    for (guint i = 0; i < names->len && n < most; i++) {
        kn_cudnn_plan *p = kn_cudnn_plan_named(cudnn, shape, direction, names->pdata[i]);
        if (p && (size_t)p->workspace <= workspace_most)
            plans[n++] = p;
        else
            kn_cudnn_plan_destroy(p);
    }
    return n;
}

int kn_cudnn_offers(kn_cudnn *cudnn, const kn_cudnn_shape *shape, kn_cudnn_direction direction)
{
    g_autoptr(GPtrArray) names = g_ptr_array_new_with_free_func(g_free);
    ask(cudnn, shape, direction, CUDNN_HEUR_MODE_A, names, 16);
    return (int)names->len;
}

const char *kn_cudnn_plan_name(const kn_cudnn_plan *plan)
{
    return plan->name;
}

size_t kn_cudnn_plan_workspace(const kn_cudnn_plan *plan)
{
    return (size_t)plan->workspace;
}

/* A run, kept as bytes until its turn comes. */
typedef struct {
    kn_cudnn *cudnn;
    const kn_cudnn_plan *plan;
    const void *pointers[4]; /* a, b, out, bias */
    void *workspace;
} run;

static bool execute(const run *r, GError **error)
{
    const int64_t uids[4] = {UID_A, UID_B, UID_OUT, UID_BIAS};
    kn_cudnn *c = r->cudnn;
    int64_t n = r->plan->epilogue ? 4 : 3;
    descriptor pack = NULL;
    bool ok =
        check(c, c->f.create_descriptor(CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR, &pack), "pack",
              error) &&
        check(c, c->f.set(pack, CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS, CUDNN_TYPE_INT64, n, uids),
              "pack", error) &&
        check(c,
              c->f.set(pack, CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS, CUDNN_TYPE_VOID_PTR, n,
                       r->pointers),
              "pack", error) &&
        check(c,
              c->f.set(pack, CUDNN_ATTR_VARIANT_PACK_WORKSPACE, CUDNN_TYPE_VOID_PTR, 1,
                       &r->workspace),
              "pack", error) &&
        check(c, c->f.finalize(pack), "pack", error) &&
        check(c, c->f.execute(c->handle, r->plan->plan, pack), "cudnnBackendExecute", error);
    if (pack)
        c->f.destroy_descriptor(pack);
    return ok;
}

static void execute_call(kn_device *device, const void *data)
{
    g_autoptr(GError) failed = NULL;
    if (!execute(data, &failed))
        kn_device_fail(device, "cudnnBackendExecute", failed->message);
}

bool kn_cudnn_run(kn_cudnn *c, const kn_cudnn_plan *plan, const void *a, const void *b,
                  const void *bias, void *out, void *workspace, GError **error)
{
    run r = {c, plan, {a, b, out, bias}, workspace};
    if (!kn_program_is_open(kn_device_program(c->driven)))
        return execute(&r, error);
    kn_device_call(c->driven, execute_call, &r, sizeof r);
    return true;
}
