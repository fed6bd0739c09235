/* What a semi-supervised method is: a declaration of its step as data, not code that runs it.
 *
 * A method says which networks it has, which forwards a step makes (network, half of the batch,
 * with gradient or not, noise, dropout stream), which loss terms follow (kind, which forward is the
 * supervised prediction p and which the reference p~, which thresholds γ, which weight over time)
 * and which networks are moving averages of others. The trainer plans memory from the declaration
 * and runs it (train/run/step.c). MetaSSL is not a method but a loss: where the configuration asks for
 * it, a method declares SSL_LQH instead of SSL_SUP and SSL_UQH instead of its own unlabelled term.
 *
 *       batch  ┌ labelled ┐┌ unlabelled ┐        images of a forward: labelled first
 *   forward 0  └───────── SSL_BOTH ─────┘  →  terms {p=0, ref=1} → gradient of forward 0's network
 *   forward 1              └ SSL_UNLABELLED ┘ →  p~, argmax, confidence → γ[slot]
 *
 * To add a method: one file with a const ssl_method, one line in registry.c, one test. A method
 * that needs a new kind of input or term adds it to the vocabulary below and to train/run/step.c once,
 * for all.
 *
 * Invariants of a plan (checked by ssl_plan_check)
 *  1. Forwards, terms, slots and networks refer to each other by index and exist.
 *  2. A term's p is a forward with gradient; its reference contributes no gradient.
 *  3. A term looks at a half that both of its forwards saw.
 *  4. A γ slot belongs to one half; terms of that half use it.
 *  5. p and its references saw the same images, moved the same way. */
#ifndef QS_TRAIN_SSL_METHOD_H
#define QS_TRAIN_SSL_METHOD_H

#include "kernels/loss/loss.h"

#include <glib.h>
#include <stdbool.h>

enum {
    SSL_NETS_MAX = 6,
    SSL_FORWARDS_MAX = 16,
    SSL_TERMS_MAX = 16,
    SSL_GAMMAS_MAX = 8,
    SSL_EMAS_MAX = 6,
    SSL_OPTIONS_MAX = 8,
    SSL_FROM_MAX = 8,      /* sources of a composed forward */
    SSL_OPERANDS_MAX = 12, /* of a term of a method's own */
    SSL_MEMORY_MAX = 16,   /* numbers that a method keeps from step to step */
    SSL_COPIES_MAX = 4,
    SSL_STAGES_MAX = 2,
};

typedef enum { SSL_LABELLED = 1, SSL_UNLABELLED = 2, SSL_BOTH = 3 } ssl_half; /* bits */

enum { SSL_NONE = -1 };

typedef struct {
    bool trained; /* has gradients, the optimiser's arrays and a step */
    int copy_of;  /* starts as a copy of that network; SSL_NONE: its own random numbers */
    kn_unet_variant variant; /* what it has beside the plain U-Net; a copy has its original's */
    bool features;           /* see kn_unet_spec */
} ssl_net;

typedef enum { SSL_WEAK, SSL_STRONG } ssl_look; /* flips and turns; photometric changes on top */

/* Images put together of two: a box of the inner one in the outer one. Everything that belongs to
 * an image moves with it: pixels, labels, what is excluded, reference predictions. */
typedef enum {
    SSL_MIX_NONE,
    SSL_MIX_CUT,   /* CutMix: into each unlabelled image, with --cutmix probability, of the next */
    SSL_MIX_PAIRS, /* BCP, stage 1: labelled i outside, labelled n_labelled/2 + i inside */
    SSL_MIX_CROSS, /* BCP, stage 2: first half: unlabelled i outside, labelled i inside; second
                    * half: labelled i outside, unlabelled i inside. n_labelled = n_unlabelled, even
                    */
} ssl_mix;

/* An output of a forward. */
typedef struct {
    int forward, output;
} ssl_pred;

/* Changes the classes y (n,h,w) that a prediction says, on the host, before anything uses it: the
 * prediction's logits follow. For connected components, say. */
typedef void (*ssl_filter)(uint8_t *y, int n, int h, int w, int n_classes);

/* One forward in training mode (batch statistics, dropout); they run in order. Or, with net
 * SSL_NONE, a prediction composed of earlier ones, without gradient: the mean of the outputs `from`
 * (mix SSL_MIX_NONE: sources that saw `half`, or more), or what they say of images that were mixed
 * afterwards (sources unmixed, of which each saw some of the images). */
typedef struct {
    int net;
    ssl_half half; /* of SSL_MIX_PAIRS and SSL_MIX_CROSS: SSL_LABELLED and SSL_BOTH */
    bool grad;     /* backward follows; else only what a forward needs is kept */
    double noise;  /* sigma of Gaussian noise on the input, cut at 2 sigma; 0: none */
    ssl_look look;
    ssl_mix mix;
    int repeat;        /* above 1: so many times, each with its own noise and dropout; the output is
                        * the mean prediction. Without gradient */
    ssl_filter filter; /* without gradient; NULL: none */
    ssl_pred from[SSL_FROM_MAX];
    int n_from;
    unsigned stages; /* bit s: run in stage s; 0: in all */
} ssl_forward;

typedef enum {
    SSL_SUP,    /* CE + Dice of the labelled half (or ½(CE + Dice²): option sup) */
    SSL_LQH,    /* the same, quadripartite: MetaSSL eqs. (7), (8), (11) */
    SSL_UQH,    /* CE to the reference's argmax, quadripartite: eq. (5) */
    SSL_CPS,    /* CE to the reference's argmax, every pixel with weight 1 */
    SSL_MSE,    /* mean over pixels and classes of (p - p~)² */
    SSL_HARD,   /* CE + Dice, as SSL_SUP, with the reference's argmax for a label */
    SSL_PSEUDO, /* CE to the reference's argmax where its confidence is at least tau, over all
                   pixels */
    SSL_OWN,    /* of the method's own: `own` */
} ssl_term_kind;

/* Which part of mixed images a labelled term looks at. */
typedef enum { SSL_WHERE_ALL, SSL_WHERE_OUTER, SSL_WHERE_INNER } ssl_where;
/* Which of the images of a mixed forward. */
typedef enum { SSL_PART_ALL, SSL_PART_FIRST, SSL_PART_SECOND } ssl_part;

/* What a term of a method's own is run with. Tensors hold the term's images alone. */
typedef struct {
    kn_engine *engine;
    int n; /* operands */
    const kn_tensor *z[SSL_OPERANDS_MAX];
    const kn_tensor *dz[SSL_OPERANDS_MAX]; /* accumulate here; NULL: no gradient */
    const uint8_t *label; /* (n,h,w): 255 where no label may be seen; NULL where the term is not on
                           * labelled images alone */
    const uint8_t *exclude; /* (n,h,w): 255 where not to look */
    double scale;           /* of the gradient */
    int64_t it, total;
    const double *values; /* of the method's options */
    /* Numbers, in the engine's memory: the loss without scale is what is added to *value (0 before)
     * and what *quad says, if it is written. */
    double *value;
    kn_quad_result *quad;
    double *memory; /* SSL_MEMORY_MAX numbers, 0 at the start, kept in the state; there too */
    void *scratch;  /* of the bytes that `own_bytes` asked for */
    /* On the host: */
    void *staging; /* with `own_staged`, as many bytes to fill and bring to the scratch; NULL: the
                    * scratch is the host's */
    const struct tr_batch *batch;
    const struct tr_history *history; /* where the plan wants one */
    uint64_t seed;
} ssl_own;
/* Asks it of the engine and waits for nothing. */
typedef void (*ssl_own_run)(const ssl_own *own);

typedef enum {
    SSL_CONST,       /* 1 */
    SSL_LAMBDA,      /* λ(t), Gaussian warm-up to lambda-max */
    SSL_LAMBDA_LATE, /* λ(t), but 0 in the first `late_share` of the iterations */
    SSL_LAMBDA_REST, /* 1 - λ(t), at least 0 */
} ssl_weight;

typedef struct {
    ssl_term_kind kind;
    int p, ref;        /* forwards; ref SSL_NONE for SSL_SUP */
    int gamma;         /* slot; SSL_NONE for SSL_SUP, SSL_MSE, SSL_CPS */
    ssl_weight weight; /* over time, times `scale` */
    double scale;
    /* SSL_LQH as the released code has it, on top of SSL_SUP: its CE alone, regions by agreement of
     * p with the reference instead of the label with it, confidence and thresholds of p itself. */
    bool added;
    bool dice_only;           /* SSL_SUP without its CE */
    int p_output, ref_output; /* of those forwards */
    ssl_where where;
    ssl_part part;
    double tau;      /* SSL_PSEUDO */
    unsigned stages; /* bit s: in stage s; 0: in all */
    /* SSL_OWN: operands beside p, which comes first; the gradient goes to those whose bit is set (p
     * is bit 0). All on the images of half `on`. */
    ssl_own_run own;
    ssl_pred operands[SSL_OPERANDS_MAX - 1];
    int n_operands;
    unsigned grads;
    ssl_half on;
    size_t (*own_bytes)(int64_t pixels, int n_classes, size_t real_bytes); /* (optional) */
    bool own_staged; /* `own` fills its scratch on the host */
} ssl_term;

/* Thresholds of one reference role on one half. Several references may share a slot: each updates
 * it in the order of the terms. */
typedef struct {
    const char *role; /* "teacher", "net1" …: slots of one role merge with --gamma-scope shared */
    ssl_half half;
} ssl_gamma;

/* After the optimiser: teacher = a·teacher + (1-a)·student, a = min(1 - 1/(it+1), alpha). */
typedef struct {
    int teacher, student;
    double alpha;
    bool with_buffers; /* BatchNorm's running statistics too */
    bool constant;     /* a = alpha from the first step */
    unsigned stages;
} ssl_ema;

/* At the start of a stage: a network becomes another's copy, momentum too where both have it. */
typedef struct {
    int to, from, stage;
} ssl_copy;

typedef enum {
    SSL_POOL_LABELLED, /* the labelled half draws from rows marked labelled */
    SSL_POOL_ALL,      /* … from every row that has a label at all */
} ssl_pool;

typedef struct {
    int n_labelled, n_unlabelled; /* images of a step */
    int n_held;        /* of the unlabelled, from held-back labelled rows; they come first */
    double held_share; /* of the labelled rows */
    ssl_pool pool;
    bool history;        /* keeps train/ssl/history.h, swept with the model's network … */
    int64_t sweep_every; /* … every so many iterations; 0: a pass over the training patches */
    int n_nets, n_forwards, n_terms, n_gammas, n_emas, n_copies;
    ssl_net nets[SSL_NETS_MAX];
    ssl_forward forwards[SSL_FORWARDS_MAX];
    ssl_term terms[SSL_TERMS_MAX];
    ssl_gamma gammas[SSL_GAMMAS_MAX];
    ssl_ema emas[SSL_EMAS_MAX];
    ssl_copy copies[SSL_COPIES_MAX];
    double stage_share; /* of the iterations that stage 0 has; 0: there is one stage; below 0: all
                         * is stage 1 */
    double mix_share;   /* SSL_MIX_PAIRS, SSL_MIX_CROSS: side of the box over that of the patch */
    int model_net;      /* the network that is the trained model */
    int model_pair; /* 0: none; else a second one: the model is the mean of their probabilities */
    /* What predicts in place of the two above: a moving average of each (ssl_plan_average) or the
     * method's own (ssl_plan_teacher); 0: they do so themselves. */
    int model_average, pair_average;
    double late_share; /* of SSL_LAMBDA_LATE */
} ssl_plan;

/* A constant of a method's own, an option of `train`. */
typedef struct {
    const char *name;
    double value, min, max; /* default and range */
    const char *help;
} ssl_option;

typedef struct {
    bool lqh, uqh;                        /* MetaSSL on labelled, on unlabelled pixels */
    bool lqh_added;                       /* lqh: beside the plain loss, see ssl_term.added */
    int batch_labelled, batch_unlabelled; /* as asked for; a plan may use them otherwise */
    const double *values;                 /* of the method's options, in their order */
} ssl_config;

typedef struct {
    const char *name, *summary;
    const char *paper;         /* (optional): of no paper */
    const ssl_option *options; /* ends with name NULL; (optional) */
    /* Other defaults of `train`'s options, name and value; ends with name NULL; (optional) */
    const char *const (*defaults)[2];
    bool plain_only; /* no MetaSSL loss takes its losses' place */
    void (*plan)(const ssl_config *config, ssl_plan *plan); /* plan comes zeroed */
} ssl_method;

/* NULL-terminated. */
extern const ssl_method *const ssl_methods[];
/* Any case. NULL with QS_ERROR_ARG naming those that exist. */
const ssl_method *ssl_method_find(const char *name, GError **error);
int ssl_method_n_options(const ssl_method *method);

/* For declarations: append and return the index. */
int ssl_add_net(ssl_plan *plan, ssl_net net);
int ssl_add_forward(ssl_plan *plan, ssl_forward forward);
int ssl_add_gamma(ssl_plan *plan, const char *role, ssl_half half);
void ssl_add_term(ssl_plan *plan, ssl_term term);
void ssl_add_ema(ssl_plan *plan, ssl_ema ema);
void ssl_add_copy(ssl_plan *plan, ssl_copy copy);
/* The labelled term that most methods share: SSL_LQH against `ref` with its own thresholds `role`
 * when the configuration asks for it, else SSL_SUP; both where lqh_added. */
/* The same with p, ref, their outputs, scale and stages of `labelled`; *gamma: the slot, SSL_NONE:
 * a new one, for terms that share. */
void ssl_add_labelled(ssl_plan *plan, const ssl_config *config, ssl_term labelled, const char *role,
                      int *gamma);
void ssl_add_labelled_term(ssl_plan *plan, const ssl_config *config, int p, int ref,
                           const char *role, double scale);

/* The half that a term of this kind looks at; of SSL_OWN its `on`. */
ssl_half ssl_term_half(ssl_term_kind kind);
ssl_half ssl_term_on(const ssl_term *term);
/* Images of a forward, and of a half. */
int ssl_forward_n(const ssl_plan *plan, const ssl_forward *forward);
int ssl_half_n(const ssl_plan *plan, ssl_half half);
bool ssl_in_stage(unsigned stages, int stage);
int ssl_stage(const ssl_plan *plan, int64_t it, int64_t total);
/* The images of forward f that a term is about: *first and the number, within that forward. */
int ssl_term_images(const ssl_plan *plan, const ssl_term *term, int f, int *first);
bool ssl_half_has(ssl_half seen, ssl_half wanted);
/* The same step with other means, for every method (train/plan/recipe.c). Each gives QS_ERROR_ARG,
 * which says what of the method stands in the way.
 * split: a forward over both halves becomes two, the labelled half first, so that BatchNorm's batch
 * statistics are each half's own and running statistics take the two in turn, as from two calls in
 * PyTorch. A forward that no term learns from then loses its gradient. */
bool ssl_plan_split(ssl_plan *plan, GError **error);
/* The model predicts with a moving average of its network, or networks, over parameters and running
 * statistics. */
bool ssl_plan_average(ssl_plan *plan, double alpha, GError **error);
/* The model predicts with the method's own moving average of its network. */
bool ssl_plan_teacher(ssl_plan *plan, GError **error);
/* QS_ERROR_INTERNAL with the first invariant that does not hold. */
bool ssl_plan_check(const ssl_plan *plan, GError **error);

#endif
