/* The engine: a backend ("cpu", or "ref": naive, double precision, the oracle) with its threads,
 * its shared scratch memory and its choice of convolution algorithms. A network runs on it
 * through kn_net (what), kn_weights (parameters) and kn_pass (activations of one forward and
 * backward of a given batch). Everything is planned and allocated when a pass is created; nothing
 * is allocated in a step. One thread drives an engine; inside, passes run in one OpenMP team.
 *
 * Deterministic: the same seed, thread count and machine give the same bits. */
#ifndef QS_KERNELS_ENGINE_H
#define QS_KERNELS_ENGINE_H

#include "base/report.h"
#include "kernels/engine/memory.h"
#include "kernels/engine/tensor.h"

typedef struct kn_engine kn_engine;
typedef struct kn_net kn_net;
typedef struct kn_weights kn_weights;
typedef struct kn_pass kn_pass;

typedef enum {
    KN_CONV_DIRECT, /* f32 direct: the reference mode */
    KN_CONV_AUTO, /* direct or Winograd, chosen per layer by timing once: bits may differ from run to run */
    KN_CONV_SHAPE, /* direct or Winograd, chosen by the layer's shape alone: the same on every run */
} kn_conv_mode;

typedef enum {
    KN_PRECISION_AUTO, /* bf16 on cuda, f32 elsewhere */
    KN_PRECISION_F32,
    KN_PRECISION_BF16, /* activations and convolution operands; sums, statistics, losses and master
                        * weights stay f32 */
} kn_precision;

typedef struct {
    const char *backend; /* "cpu", "ref", or "cuda" where the program was built with it */
    int n_threads;       /* 0: all cores */
    kn_conv_mode conv;
    /* Choices of an earlier run of the same plan ("layer:algo,…", kn_engine_conv_choices) so that a
     * resumed run computes the same bits; NULL: time them. */
    const char *conv_choices;
    kn_precision precision;
} kn_engine_options;

/* "auto", "f32" or "bf16"; false for anything else. */
bool kn_precision_parse(const char *text, kn_precision *precision);

kn_engine *kn_engine_create(const kn_engine_options *options, GError **error);
void kn_engine_destroy(kn_engine *engine);
kn_dtype kn_engine_dtype(const kn_engine *engine); /* KN_F32 for cpu, KN_F64 for ref */
const char *
kn_engine_describe(const kn_engine *engine); /* "cpu: AMD EPYC, AVX-512, 2 threads, oneDNN 2.6.3" */
int kn_engine_threads(const kn_engine *engine);
/* What was chosen so far, in a form that conv_choices accepts. Owned by the caller. */
char *kn_engine_conv_choices(const kn_engine *engine);
/* Bytes that the engine, its weights and its passes hold now. */
int64_t kn_engine_bytes(const kn_engine *engine);
/* Does the engine compute in memory of its own (a GPU's)? Logits and their gradients of training
 * passes are then for kn_ functions only. */
bool kn_engine_is_device(const kn_engine *engine);
/* Bytes that can still be had where the engine's blocks are. */
int64_t kn_engine_memory_available(kn_engine *engine);
/* Memory where the engine computes, zeroed, on its account (kn_engine_bytes). QS_ERROR_MEMORY names
 * `what` and the bytes. */
bool kn_engine_alloc(kn_engine *engine, kn_block *block, size_t bytes, const char *what,
                     GError **error);
void kn_engine_free(kn_engine *engine, kn_block *block);
/* Host memory that the engine copies from fast (pinned), zeroed; not on its account. What is in it
 * may change only when the engine is done with it. */
bool kn_engine_host_alloc(kn_engine *engine, kn_block *block, size_t bytes, const char *what,
                          GError **error);
void kn_engine_host_free(kn_engine *engine, kn_block *block);
/* Copies between the host and there; download waits. On the CPU both are memcpy. */
void kn_engine_upload(kn_engine *engine, void *dst, const void *src, size_t bytes);
void kn_engine_download(kn_engine *engine, void *dst, const void *src, size_t bytes);
/* As download to memory of kn_engine_host_alloc, but waits for nothing: there once a later mark has
 * been awaited. */
void kn_engine_fetch(kn_engine *engine, void *dst, const void *src, size_t bytes);
/* fn(user) after what was asked of the engine before, and before what comes after; on the CPU now,
 * else on a thread of its own: it may not ask anything of the engine, and user outlives it. */
void kn_engine_on_host(kn_engine *engine, void (*fn)(void *user), void *user);
/* Every element to 0, those between c and ldc too. */
void kn_engine_clear(kn_engine *engine, const kn_tensor *t);
/* Waits for all that was asked of the engine and says what failed since the last time; on the CPU
 * nothing is ever left to wait for. */
bool kn_engine_check(kn_engine *engine, GError **error);
/* What is known to have failed by now; waits for nothing. */
bool kn_engine_peek(kn_engine *engine, GError **error);
/* Around work that is done again and again in much the same way, a training step: a device may keep
 * it until somebody waits, and do what it has seen before by one launch (CUDA graphs). The results
 * are the same. end hands out what is left and waits for nothing; begin waits until the work of the
 * begin before the last is done. */
void kn_engine_begin(kn_engine *engine);
void kn_engine_end(kn_engine *engine);
/* Names all that was asked of the engine so far; await returns when that is done (0: at once),
 * while later work goes on. The last few names are told apart, an older one waits for a newer. On
 * the CPU nothing is ever left to wait for. */
uint64_t kn_engine_mark(kn_engine *engine);
void kn_engine_await(kn_engine *engine, uint64_t mark);

/* A dense NHWC tensor of the engine's memory and dtype, on its account. */
bool kn_engine_tensor_create(kn_engine *engine, int n, int h, int w, int c, kn_tensor *tensor,
                             GError **error);
void kn_engine_tensor_destroy(kn_engine *engine, kn_tensor *tensor); /* empty is accepted */

/* ---- the network ------------------------------------------------------------------------ */
/* What a network has beside the plain U-Net, and its outputs. Output 0 is always the prediction
 * that a model makes; what it does not depend on is no part of a model. */
typedef enum {
    KN_UNET_PLAIN,  /* 0 logits */
    KN_UNET_AUX,    /* 0 main decoder, 1..3 auxiliary decoders on perturbed features (CCT) */
    KN_UNET_SCALES, /* 0 logits, 1..3 heads at ½, ¼, ⅛, repeated to full size (URPC) */
    KN_UNET_MAPPED, /* 0 logits, through a 1×1 convolution without bias on the bottleneck (CCVC) */
    KN_UNET_DUAL,   /* 0 decoder, 1 second decoder with 2×2 transposed convolutions (DCNet) */
} kn_unet_variant;

enum { KN_OUTPUTS_MAX = 12 };

typedef struct {
    int in_channels;  /* 3 */
    int n_classes;    /* 2.. */
    int width;        /* 16 (16..256) or 32 (32..512) */
    float dropout[5]; /* encoder levels: .05 .1 .2 .3 .5 */
    kn_unet_variant variant;
    /* Features as outputs after the others. PLAIN, MAPPED: the (mapped) bottleneck. DUAL: the
     * encoder's levels 0..3, then those of the second decoder. AUX, SCALES: none. */
    bool features;
} kn_unet_spec;
void kn_unet_spec_init(kn_unet_spec *spec, int n_classes, int width);

/* U-Net of ssl-methods D (Ronneberger; bilinear ×2 align_corners upsampling, 3×3 head). Immutable.
 */
kn_net *kn_net_create_unet(const kn_unet_spec *spec, GError **error);
void kn_net_destroy(kn_net *net);
int kn_net_n_outputs(const kn_net *net);
/* Height and width are those of the input >> level. */
void kn_net_output_shape(const kn_net *net, int output, int *level, int *channels);
/* Does output 0 depend on the parameter (or running statistic)? Others serve training alone. */
bool kn_net_param_in_model(const kn_net *net, int i);

typedef enum { KN_PARAM, KN_BUFFER } kn_param_kind; /* trained, or BN running statistics */
typedef struct {
    const char *name; /* PyTorch's: "encoder.in_conv.conv_conv.0.weight" */
    kn_param_kind kind;
    int n_dims;
    int64_t shape[4]; /* PyTorch's: OIHW, or (C) */
    int64_t offset;   /* element offset in the flat array of its kind */
    int64_t n;
    int64_t fan_in; /* of its convolution; 0 for BN */
} kn_param;
int kn_net_n_params(const kn_net *net);
const kn_param *kn_net_param(const kn_net *net, int i); /* in PyTorch's state_dict order */
int64_t kn_net_n_trained(const kn_net *net);            /* elements */
int64_t kn_net_n_buffers(const kn_net *net);

/* ---- weights ------------------------------------------------------------------------------
 * Flat arrays of master weights in PyTorch's order and layout, so that SGD and EMA are single
 * passes and files need no conversion. With the arrays that the optimiser wants: gradient and
 * momentum (SGD, also `true`), and the second moment (Adam). */
typedef enum { KN_OPTIMISER_NONE, KN_OPTIMISER_SGD, KN_OPTIMISER_ADAM } kn_optimiser;
kn_weights *kn_weights_create(kn_engine *engine, const kn_net *net, kn_optimiser optimiser,
                              GError **error);
void kn_weights_destroy(kn_weights *weights);
const kn_net *kn_weights_net(const kn_weights *weights);
/* Convolutions' weights at the start. PyTorch's: U(-b,b), b = 1/sqrt(fan_in). He's: normal with
 * deviation sqrt(2/fan_in). Xavier's: normal with sqrt(2/(fan_in + fan_out)). */
typedef enum { KN_INIT_PYTORCH, KN_INIT_HE, KN_INIT_XAVIER } kn_init;
/* Weights by `init`; biases of convolutions as PyTorch's default; BN 1, 0; running 0, 1. */
void kn_weights_draw(kn_weights *weights, kn_init init, uint64_t seed);
/* With KN_INIT_PYTORCH. */
void kn_weights_init(kn_weights *weights, uint64_t seed);
typedef enum {
    KN_ARRAY_PARAMS,
    KN_ARRAY_BUFFERS,
    KN_ARRAY_GRADS,
    KN_ARRAY_MOMENTUM,
    KN_ARRAY_SECOND /* Adam's mean of squares */
} kn_array;
bool kn_weights_has(const kn_weights *weights, kn_array array);
/* Copies to and from host f32, n elements from `offset` of the flat array. set marks packed copies
 * stale. */
void kn_weights_get(const kn_weights *weights, kn_array array, int64_t offset, int64_t n,
                    float *dst);
void kn_weights_set(kn_weights *weights, kn_array array, int64_t offset, int64_t n,
                    const float *src);
/* BN's num_batches_tracked, one for the whole network. */
int64_t kn_weights_batches_tracked(const kn_weights *weights);
void kn_weights_set_batches_tracked(kn_weights *weights, int64_t n);
void kn_weights_zero_grads(kn_weights *weights);
/* Scales the gradient down to a norm of `max` over all parameters where it is longer, as PyTorch's
 * clip_grad_norm_, and gives the norm that it had. Not on engines with memory of their own. */
double kn_weights_clip(kn_weights *weights, double max);
/* g += wd·θ; v = m·v + g (first step: v = g, i.e. v starts at 0); θ -= lr·v. E15. Zeroes nothing.
 */
void kn_sgd_step(kn_weights *weights, double lr, double momentum, double weight_decay);
/* kn_sgd_step of the student, then kn_ema_update of the teacher from it: the same bits, in one pass
 * where the backend has one. */
void kn_sgd_ema_step(kn_weights *student, kn_weights *teacher, double lr, double momentum,
                     double weight_decay, double alpha, bool with_buffers);
/* Adam (Kingma and Ba 2015) as PyTorch's: g += wd·θ; m, v the means of g and g²; θ -= lr·m̂/(√v̂ +
 * eps) with m̂ = m/(1-b1^t), v̂ = v/(1-b2^t). t: steps done with this one, from 1. */
void kn_adam_step(kn_weights *weights, double lr, double weight_decay, int64_t t);
/* All arrays that both have become those of `from`, of the same network. */
void kn_weights_copy(kn_weights *to, const kn_weights *from);
/* teacher = alpha·teacher + (1-alpha)·student over parameters; with_buffers: over BN buffers too.
 */
void kn_ema_update(kn_weights *teacher, const kn_weights *student, double alpha, bool with_buffers);

/* ---- passes -------------------------------------------------------------------------------- */
typedef enum {
    KN_PASS_TRAIN,  /* batch statistics, running statistics updated, dropout, backward possible */
    KN_PASS_NOGRAD, /* the same forward without what backward needs (teacher) */
    KN_PASS_INFER,  /* running statistics folded into the convolutions, no dropout */
} kn_pass_mode;

typedef struct {
    kn_pass_mode mode;
    int n, h, w;     /* batch and patch; h and w divisible by 16 */
    bool no_dropout; /* TRAIN, NOGRAD: for tests; nor are features perturbed */
    /* INFER: the logits stay in the engine's memory and forward waits for nothing. Before the input
     * is written again: kn_engine_check. */
    bool keep_logits;
    /* kn_pass_input is the engine's own memory, and forward brings nothing there. */
    bool input_there;
    /* Bit o: output o is wanted; 0: output 0 alone. What no wanted output needs is not run. */
    uint32_t outputs;
} kn_pass_options;

/* The bytes of a pass in two parts: what is the pass's own, and how far the engine's scratch has to grow for it. All
 * passes share that scratch, so of several the largest *grown counts once. False on error. */
bool kn_pass_memory_parts(kn_engine *engine, const kn_net *net, const kn_pass_options *options,
                          int64_t *own, int64_t *grown, GError **error);
/* Bytes the pass will take; the number is kept (see kn_engine_bytes). */
int64_t kn_pass_memory(kn_engine *engine, const kn_net *net, const kn_pass_options *options,
                       GError **error);
kn_pass *kn_pass_create(kn_engine *engine, const kn_net *net, const kn_pass_options *options,
                        GError **error);
void kn_pass_destroy(kn_pass *pass);
/* The type between input and outputs: the engine's precision, but f32 where features are wanted. */
kn_dtype kn_pass_activations(const kn_pass *pass);
/* The caller writes normalised images here before forward: host memory on every backend, brought to
 * the device by forward (but with input_there). */
const kn_tensor *kn_pass_input(const kn_pass *pass); /* (n,h,w,in_channels) */
/* INFER without keep_logits: host memory on every backend, there when forward returns. Else the
 * engine's own memory. */
const kn_tensor *
kn_pass_logits(const kn_pass *pass); /* (n,h,w,n_classes), valid until the next forward */
const kn_tensor *
kn_pass_dlogits(const kn_pass *pass); /* TRAIN: filled by the caller before backward */
/* The same of any output that the pass was created with; NULL else. Features too are NHWC. */
const kn_tensor *kn_pass_output(const kn_pass *pass, int output);
const kn_tensor *kn_pass_doutput(const kn_pass *pass, int output);
/* dropout_stream names the dropout masks: same stream, same masks. */
bool kn_pass_forward(kn_pass *pass, kn_weights *weights, uint64_t dropout_stream, GError **error);
/* Of the last forward; parameter gradients accumulate (+=). */
bool kn_pass_backward(kn_pass *pass, kn_weights *weights, GError **error);

#endif
