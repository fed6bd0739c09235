/* What a semi-supervised method is: a declaration of its step as data, not code that runs it.
 *
 * A method says which networks it has, which forwards a step makes (network, half of the batch,
 * with gradient or not, noise, dropout stream), which loss terms follow (kind, which forward is the
 * supervised prediction p and which the reference p~, which thresholds γ, which weight over time)
 * and which networks are moving averages of others. The trainer plans memory from the declaration
 * and runs it (train/step.c). MetaSSL is not a method but a loss: where the configuration asks for
 * it, a method declares SSL_LQH instead of SSL_SUP and SSL_UQH instead of its own unlabelled term.
 *
 *       batch  ┌ labelled ┐┌ unlabelled ┐        images of a forward: labelled first
 *   forward 0  └───────── SSL_BOTH ─────┘  →  terms {p=0, ref=1} → gradient of forward 0's network
 *   forward 1              └ SSL_UNLABELLED ┘ →  p~, argmax, confidence → γ[slot]
 *
 * To add a method: one file with a const ssl_method, one line in registry.c, one test. A method
 * that needs a new kind of input or term adds it to the vocabulary below and to train/step.c once,
 * for all.
 *
 * Invariants of a plan (checked by ssl_plan_check)
 *  1. Forwards, terms, slots and networks refer to each other by index and exist.
 *  2. A term's p is a forward with gradient; its reference contributes no gradient.
 *  3. A term looks at a half that both of its forwards saw.
 *  4. A γ slot belongs to one half; terms of that half use it. */
#ifndef QS_TRAIN_SSL_METHOD_H
#define QS_TRAIN_SSL_METHOD_H

#include <glib.h>
#include <stdbool.h>

enum {
    SSL_NETS_MAX = 4,
    SSL_FORWARDS_MAX = 8,
    SSL_TERMS_MAX = 12,
    SSL_GAMMAS_MAX = 8,
    SSL_EMAS_MAX = 4,
    SSL_OPTIONS_MAX = 8,
};

typedef enum { SSL_LABELLED = 1, SSL_UNLABELLED = 2, SSL_BOTH = 3 } ssl_half; /* bits */

typedef struct {
    bool trained; /* has gradients, momentum and an optimiser step */
    int copy_of;  /* starts as a copy of that network; SSL_NONE: its own random numbers */
} ssl_net;

/* One forward in training mode (batch statistics, dropout). */
typedef struct {
    int net;
    ssl_half half;
    bool grad;    /* backward follows; else only what a forward needs is kept */
    double noise; /* sigma of Gaussian noise on the input, cut at 2 sigma; 0: none */
} ssl_forward;

typedef enum {
    SSL_SUP, /* CE + Dice of the labelled half (or ½(CE + Dice²): option sup) */
    SSL_LQH, /* the same, quadripartite: MetaSSL eqs. (7), (8), (11) */
    SSL_UQH, /* CE to the reference's argmax, quadripartite: eq. (5) */
    SSL_CPS, /* CE to the reference's argmax, every pixel with weight 1 */
    SSL_MSE, /* mean over pixels and classes of (p - p~)² */
} ssl_term_kind;

typedef enum {
    SSL_CONST,       /* 1 */
    SSL_LAMBDA,      /* λ(t), Gaussian warm-up to lambda-max */
    SSL_LAMBDA_LATE, /* λ(t), but 0 in the first `late_share` of the iterations */
} ssl_weight;

enum { SSL_NONE = -1 };

typedef struct {
    ssl_term_kind kind;
    int p, ref;        /* forwards; ref SSL_NONE for SSL_SUP */
    int gamma;         /* slot; SSL_NONE for SSL_SUP, SSL_MSE, SSL_CPS */
    ssl_weight weight; /* over time, times `scale` */
    double scale;
    /* SSL_LQH as the released code has it, on top of SSL_SUP: its CE alone, regions by agreement of
     * p with the reference instead of the label with it, confidence and thresholds of p itself. */
    bool added;
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
} ssl_ema;

typedef enum {
    SSL_POOL_LABELLED, /* the labelled half draws from rows marked labelled */
    SSL_POOL_ALL,      /* … from every row that has a label at all */
} ssl_pool;

typedef struct {
    int n_labelled, n_unlabelled; /* images of a step */
    int n_held;        /* of the unlabelled, from held-back labelled rows; they come first */
    double held_share; /* of the labelled rows */
    ssl_pool pool;
    int n_nets, n_forwards, n_terms, n_gammas, n_emas;
    ssl_net nets[SSL_NETS_MAX];
    ssl_forward forwards[SSL_FORWARDS_MAX];
    ssl_term terms[SSL_TERMS_MAX];
    ssl_gamma gammas[SSL_GAMMAS_MAX];
    ssl_ema emas[SSL_EMAS_MAX];
    int model_net;     /* the network that is the trained model */
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
    const char *paper;                                      /* (optional): of no paper */
    const ssl_option *options;                              /* ends with name NULL; (optional) */
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
/* The labelled term that most methods share: SSL_LQH against `ref` with its own thresholds `role`
 * when the configuration asks for it, else SSL_SUP; both where lqh_added. */
void ssl_add_labelled_term(ssl_plan *plan, const ssl_config *config, int p, int ref,
                           const char *role, double scale);

/* The half that a term looks at. */
ssl_half ssl_term_half(ssl_term_kind kind);
bool ssl_half_has(ssl_half seen, ssl_half wanted);
/* QS_ERROR_INTERNAL with the first invariant that does not hold. */
bool ssl_plan_check(const ssl_plan *plan, GError **error);

#endif
