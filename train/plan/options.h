/* Every constant of a training run, as one table: the command line makes its options from it, a run
 * writes it down, a resumed run compares by it. */
#ifndef QS_TRAIN_OPTIONS_H
#define QS_TRAIN_OPTIONS_H

#include "kernels/loss/loss.h"
#include "train/plan/method.h"
#include "train/data/strong.h"

/* Which training cases a label budget chooses from: those marked labelled, or all with a mask. */
typedef enum { TR_LABELS_LABELLED, TR_LABELS_MASKED } tr_label_pool;

typedef enum { TR_LOSS_PLAIN, TR_LOSS_METASSL } tr_loss;
typedef enum { TR_SUP_PAPER, TR_SUP_SSL4MIS } tr_sup;
typedef enum { TR_RAMP_PAPER, TR_RAMP_RELEASED } tr_ramp;
typedef enum { TR_SGD, TR_ADAM } tr_optimiser;
typedef enum { TR_LQH_REPLACE, TR_LQH_ADD } tr_lqh_form;
typedef enum { TR_WEIGHTS_FIXED, TR_WEIGHTS_AUTO } tr_weights;
typedef enum { TR_DATA_AUTO, TR_DATA_RESIDENT, TR_DATA_RING, TR_DATA_HOST } tr_gpu_data;
typedef enum { TR_GAMMA_SEPARATE, TR_GAMMA_SHARED } tr_gamma_scope;
typedef enum { TR_BN_JOINT, TR_BN_SPLIT } tr_bn;
typedef enum { TR_EVAL_LAST, TR_EVAL_EMA, TR_EVAL_TEACHER } tr_eval_weights;
typedef enum { TR_GAMMA_START_GAMMA0, TR_GAMMA_START_MEAN } tr_gamma_start;

/* Names, meanings, defaults: tr_option_table. Strings are borrowed. */
typedef struct {
    const char *method;
    tr_loss loss;
    const char *out_dir;
    /* network and engine */
    const char *backend;
    int width;
    int n_threads;
    kn_conv_mode conv;
    kn_precision precision;
    const char *init;
    const char *init_weights; /* names of kn_init, one a network, the last for all others */
    tr_bn bn;
    tr_eval_weights eval_weights;
    double eval_ema;
    /* data */
    const char *stain_norm; /* as tile's --stain-norm, for who opens the source; NULL: none */
    bool allow_empty_class; /* for who opens the source: a foreground class may have no label */
    const char *where; /* a condition on patches, for who opens the source; NULL: all of them */
    int batch_labelled, batch_unlabelled;
    int labelled_cases; /* 0: all that the pool has */
    int64_t label_seed; /* -1: seed */
    tr_label_pool label_pool;
    int loader_threads;
    tr_gpu_data gpu_data;
    bool augment;
    double jitter_stain, jitter_brightness;
    double cutmix;
    tr_strong_options strong;
    /* schedule */
    int64_t iterations;
    tr_optimiser optimiser;
    double lr, lr_power, momentum, weight_decay;
    double warmup; /* share of the iterations */
    double clip;   /* norm of a network's gradient; 0: any */
    double lambda_max;
    tr_ramp ramp;
    double max_hours;
    uint64_t seed;
    /* loss */
    tr_sup sup;
    double dice_eps;
    /* MetaSSL, A.11 */
    bool use_lqh, use_uqh;
    kn_phi phi;
    double phi_beta, delta_u, delta_l;
    double gamma0; /* NaN: ½ in terms of the confidence measure */
    double gamma_a;
    tr_gamma_start gamma_start;
    kn_threshold threshold;
    double flexmatch_tau, flexmatch_ema, freematch_ema;
    tr_gamma_scope gamma_scope;
    kn_absent gamma_absent;
    kn_confidence confidence;
    kn_partition partition;
    kn_z_scope z_scope;
    kn_ce_norm norm_mode;
    kn_uc uc;
    tr_lqh_form lqh_form;
    bool swap_labelled;
    tr_weights weights;
    double held_back, weights_prior, weights_memory;
    double uqh_scale, lqh_scale;
    bool no_dropout;
    /* cadence */
    int64_t val_every, save_every, log_every;
    bool fresh;
    /* the method's own constants, in the order of its table */
    double method_values[SSL_OPTIONS_MAX];
} tr_options;

typedef enum { TR_INT, TR_INT64, TR_UINT64, TR_DOUBLE, TR_BOOL, TR_ENUM, TR_STRING } tr_option_kind;

typedef struct {
    const char *name; /* on the command line; for TR_BOOL a flag that sets `flag_value` */
    tr_option_kind kind;
    size_t offset;
    double min, max;           /* numbers */
    const char *const *values; /* TR_ENUM: names, NULL-terminated */
    bool flag_value;           /* TR_BOOL */
    bool matters;              /* decides the weights: a resumed run refuses another value */
    const char *help;
} tr_option;

/* Defaults, for method "MT". */
void tr_options_init(tr_options *options);
/* Sets the method, its constants and the options that it has other defaults for; what an earlier
 * method had set so is set back. */
bool tr_options_set_method(tr_options *options, const char *method, GError **error);
/* The table, without method and out_dir. */
const tr_option *tr_option_table(size_t *n);
/* Sets any option of the table or of the chosen method by name from text; TR_BOOL takes true
 * (the flag is given) or false. QS_ERROR_ARG with name, value and what is allowed. */
bool tr_options_set(tr_options *options, const char *name, const char *text, GError **error);
/* The value as tr_options_set takes it. Owned by the caller. */
char *tr_option_text(const tr_option *option, const tr_options *options);
/* "name=value" lines. matters_only: of those that decide the weights. Owned by the caller. */
char *tr_options_to_text(const tr_options *options, bool matters_only);
/* What a run did that was started before the option was there; NULL: it is no later one. */
const char *tr_option_before(const char *name, size_t n_name);
/* Compares two such texts. NULL when equal, else what differs: "lr is 0.02, was 0.01". Owned. */
char *tr_options_difference(const char *was, const char *is);
/* Ranges and relations between options. */
bool tr_options_check(const tr_options *options, GError **error);
/* What a method's plan is made from. */
ssl_config tr_options_config(const tr_options *options);
/* The plan of the method, changed and checked as the options say. plan comes zeroed. */
bool tr_options_plan(const tr_options *options, ssl_plan *plan, GError **error);
/* How network k of the plan starts: the trained ones are counted, a copy starts as its original. */
kn_init tr_options_init_of(const tr_options *options, const ssl_plan *plan, int k);

#endif
