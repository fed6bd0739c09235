#include "train/plan/options.h"

#include "base/error.h"

#include <errno.h>
#include <math.h>
#include <string.h>

static const char *const loss_names[] = {"plain", "metassl", NULL};
static const char *const conv_names[] = {"direct", "auto", NULL};
static const char *const optimiser_names[] = {"sgd", "adam", NULL};
static const char *const ramp_names[] = {"paper", "released", NULL};
static const char *const sup_names[] = {"paper", "ssl4mis", NULL};
static const char *const phi_names[] = {"linear", "reciprocal", "cosine", "gauss", NULL};
static const char *const pool_names[] = {"labelled", "masked", NULL};
static const char *const scope_names[] = {"separate", "shared", NULL};
static const char *const absent_names[] = {"keep", "released", NULL};
static const char *const confidence_names[] = {"max", "mad", "var", "std", NULL};
static const char *const partition_names[] = {"quad", "conf-bh", "cons-bh", "uniform", NULL};
static const char *const z_names[] = {"batch", "image", NULL};
static const char *const threshold_names[] = {"adaptive", "fixed", "flexmatch", "freematch", NULL};
static const char *const norm_names[] = {"paper-z", "region-mean", NULL};
static const char *const weights_names[] = {"fixed", "auto", NULL};
static const char *const precision_names[] = {"auto", "f32", "bf16", NULL};
static const char *const data_names[] = {"auto", "resident", "ring", "host", NULL};
static const char *const uc_names[] = {"whole", "split", "released", NULL};
static const char *const bn_names[] = {"joint", "split", NULL};
static const char *const eval_names[] = {"last", "ema", "teacher", NULL};
static const char *const start_names[] = {"gamma0", "mean", NULL};
static const char *const init_names[] = {"pytorch", "he", "xavier", NULL};
static const char *const lqh_form_names[] = {"replace", "add", NULL};

#define AT(member) offsetof(tr_options, member)
#define NUMBER(name, kind, member, lo, hi, matters, help)                                          \
    {                                                                                              \
        name, kind, AT(member), lo, hi, NULL, false, matters, help                                 \
    }
#define CHOICE(name, member, values, matters, help)                                                \
    {                                                                                              \
        name, TR_ENUM, AT(member), 0, 0, values, false, matters, help                              \
    }
#define FLAG(name, member, value, matters, help)                                                   \
    {                                                                                              \
        name, TR_BOOL, AT(member), 0, 0, NULL, value, matters, help                                \
    }
#define TEXT(name, member, matters, help)                                                          \
    {                                                                                              \
        name, TR_STRING, AT(member), 0, 0, NULL, false, matters, help                              \
    }

static const tr_option table[] = {
    CHOICE("loss", loss, loss_names, true, "the method's own loss, or MetaSSL's in its place"),
    /* network and engine */
    TEXT("device", backend, false,
         "cpu, cuda where the program was built with it, or ref: the slow double-precision "
         "reference"),
    CHOICE("precision", precision, precision_names, true,
           "of activations and convolutions: f32, bf16, or auto: bf16 on cuda, else f32"),
    NUMBER("threads", TR_INT, n_threads, 0, 1024, false, "threads of the engine; 0: all cores"),
    CHOICE("conv", conv, conv_names, true,
           "convolutions: direct, or the fastest, timed once a layer"),
    NUMBER("width", TR_INT, width, 1, 64, true,
           "channels of the first level: 16 or 32; 8 for quick tries on a CPU"),
    TEXT("init", init, true, "start from the weights of this safetensors file"),
    TEXT("init-weights", init_weights, true,
         "random weights at the start: he, xavier or pytorch, or one for each network of the "
         "method in turn: he,xavier"),
    CHOICE("bn", bn, bn_names, true,
           "BatchNorm's batch statistics: of both halves of a batch together, or each half's own"),
    CHOICE("eval-weights", eval_weights, eval_names, true,
           "the model: the last step's weights, their moving average, or the method's own teacher"),
    NUMBER("eval-ema", TR_DOUBLE, eval_ema, 0, 1, true,
           "eval-weights ema: weight of the old value"),
    /* data */
    TEXT("stain-norm", stain_norm, true,
         "stain normalisation of a store that was tiled without: macenko or reinhard, each also "
         "with :REFERENCE, a file or numbers"),
    TEXT("where", where, true,
         "train on patches of which this holds, e.g. \"blur>=20 and pen<0.05\"; of tissue, white, "
         "dark, saturation, blur, pen"),
    FLAG("allow-empty-class", allow_empty_class, true, false,
         "train although a foreground class has no labelled pixel"),
    NUMBER("batch-labelled", TR_INT, batch_labelled, 1, 4096, true, "labelled patches a step"),
    NUMBER("batch-unlabelled", TR_INT, batch_unlabelled, 0, 4096, true,
           "unlabelled patches a step"),
    NUMBER("labelled-cases", TR_INT, labelled_cases, 0, 1e6, true,
           "learn from the labels of so many cases, drawn by label-seed; 0: all"),
    NUMBER("label-seed", TR_INT64, label_seed, -1, 1e18, true, "draws the cases; -1: the seed"),
    CHOICE("label-pool", label_pool, pool_names, true,
           "drawn from the cases marked labelled, or from all that have a mask"),
    NUMBER("loader-threads", TR_INT, loader_threads, 1, 64, false, "threads that read and augment"),
    CHOICE("gpu-data", gpu_data, data_names, false,
           "with device cuda: all patches on the GPU (resident) or those of a step brought to it "
           "(ring), augmented there; or finished images from the loader (host); auto: resident "
           "where they fit, else ring"),
    FLAG("no-augment", augment, false, true, "no flips, quarter turns, jitter"),
    NUMBER("jitter-stain", TR_DOUBLE, jitter_stain, 0, 1, true,
           "stain (HED) jitter, relative and absolute"),
    NUMBER("jitter-brightness", TR_DOUBLE, jitter_brightness, 0, 0.9, true,
           "brightness jitter, relative"),
    /* the strong view (FixMatch) */
    NUMBER("strong-jitter", TR_DOUBLE, strong.jitter_p, 0, 1, true,
           "strong view: how often brightness, contrast, saturation and hue change"),
    NUMBER("strong-brightness", TR_DOUBLE, strong.brightness, 0, 0.9, true,
           "strong view: U(1-x,1+x)"),
    NUMBER("strong-contrast", TR_DOUBLE, strong.contrast, 0, 0.9, true, "strong view: U(1-x,1+x)"),
    NUMBER("strong-saturation", TR_DOUBLE, strong.saturation, 0, 1, true,
           "strong view: U(1-x,1+x)"),
    NUMBER("strong-hue", TR_DOUBLE, strong.hue, 0, 0.5, true,
           "strong view: U(-x,x) of a full turn"),
    NUMBER("strong-stain-share", TR_DOUBLE, strong.stain_p, 0, 1, true,
           "strong view: how often stains (HED) change"),
    NUMBER("strong-stain", TR_DOUBLE, strong.stain, 0, 1, true,
           "strong view: stain jitter, relative and absolute"),
    NUMBER("strong-blur-share", TR_DOUBLE, strong.blur_p, 0, 1, true,
           "strong view: how often it is blurred"),
    NUMBER("strong-blur", TR_DOUBLE, strong.blur_max, 0, 5, true,
           "strong view: largest sigma of the blur, pixels"),
    NUMBER("strong-noise-share", TR_DOUBLE, strong.noise_p, 0, 1, true,
           "strong view: how often noise is added"),
    NUMBER("strong-noise", TR_DOUBLE, strong.noise_max, 0, 1, true,
           "strong view: largest sigma of the noise, of the full range"),
    NUMBER("cutmix", TR_DOUBLE, cutmix, 0, 1, true,
           "strong view: how often a box of another unlabelled image is pasted"),
    NUMBER("cutout-share", TR_DOUBLE, strong.cutout_p, 0, 1, true,
           "strong view: how often a square is blanked and left out of the loss"),
    NUMBER("cutout", TR_DOUBLE, strong.cutout, 0, 0.9, true,
           "strong view: the square's side, of the patch's"),
    /* schedule */
    NUMBER("iterations", TR_INT64, iterations, 1, 1e9, true, "steps of the whole schedule"),
    NUMBER("max-hours", TR_DOUBLE, max_hours, 0, 1e5, true,
           "plan fewer iterations so that the schedule ends within these hours; 0: no limit"),
    CHOICE("optimiser", optimiser, optimiser_names, true,
           "sgd with momentum, or adam (weight decay added to the gradient)"),
    NUMBER("lr", TR_DOUBLE, lr, 0, 1e3, true, "learning rate of the first step"),
    NUMBER("lr-power", TR_DOUBLE, lr_power, 0, 10, true, "lr·(1 - t/T)^power"),
    NUMBER("momentum", TR_DOUBLE, momentum, 0, 0.9999, true, "of SGD"),
    NUMBER("weight-decay", TR_DOUBLE, weight_decay, 0, 1, true, "of SGD, on all parameters"),
    NUMBER("warmup", TR_DOUBLE, warmup, 0, 1, true,
           "share of the iterations over which the rate rises from 0"),
    NUMBER("clip", TR_DOUBLE, clip, 0, 1e9, true,
           "longest gradient of a network's parameters together; 0: any; not on cuda"),
    NUMBER("lambda-max", TR_DOUBLE, lambda_max, 0, 1e4, true,
           "weight of the unlabelled loss at the end"),
    CHOICE("ramp", ramp, ramp_names, true,
           "of lambda: exp(-5(1-t/T)²), or over 30,000 iterations in steps of 150"),
    NUMBER("seed", TR_UINT64, seed, 0, 1.8e19, true, "of weights, batches, augmentation, dropout"),
    /* loss */
    CHOICE("sup", sup, sup_names, true, "supervised loss: CE + Dice, or ½(CE + Dice of squares)"),
    NUMBER("dice-eps", TR_DOUBLE, dice_eps, 0, 1, true, "added to both parts of Dice"),
    /* MetaSSL */
    FLAG("no-lqh", use_lqh, false, true, "MetaSSL: plain loss on labelled pixels"),
    FLAG("no-uqh", use_uqh, false, true, "MetaSSL: the method's own loss on unlabelled pixels"),
    CHOICE("phi", phi, phi_names, true, "weight function of the four regions"),
    NUMBER("phi-beta", TR_DOUBLE, phi_beta, 0.01, 100, true, "exponent of gauss"),
    NUMBER("delta-u", TR_DOUBLE, delta_u, 0, 10, true, "step between region weights, unlabelled"),
    NUMBER("delta-l", TR_DOUBLE, delta_l, 0, 10, true, "step between region weights, labelled"),
    NUMBER("gamma0", TR_DOUBLE, gamma0, 0, 1, true,
           "threshold at the start; auto: 0.5, or what that is in another measure of confidence"),
    NUMBER("gamma-a", TR_DOUBLE, gamma_a, 0, 1, true,
           "weight of a batch in the threshold's average"),
    CHOICE("gamma-start", gamma_start, start_names, true,
           "the threshold's average begins at gamma0, or is the plain mean of its first 1/gamma-a "
           "batches"),
    CHOICE("threshold", threshold, threshold_names, true,
           "thresholds follow their class's mean confidence, stay at gamma0, or follow another "
           "method's rule"),
    NUMBER("flexmatch-tau", TR_DOUBLE, flexmatch_tau, 0, 1, true,
           "threshold of FlexMatch's best class"),
    NUMBER("flexmatch-ema", TR_DOUBLE, flexmatch_ema, 0, 1, true,
           "weight of the old shares in FlexMatch's average"),
    NUMBER("freematch-ema", TR_DOUBLE, freematch_ema, 0, 1, true,
           "weight of the old values in FreeMatch's averages"),
    CHOICE("gamma-scope", gamma_scope, scope_names, true,
           "thresholds of labelled and unlabelled half"),
    CHOICE("gamma-absent", gamma_absent, absent_names, true,
           "threshold of a class that is not predicted"),
    CHOICE("confidence", confidence, confidence_names, true,
           "measure of the reference's confidence"),
    CHOICE("partition", partition, partition_names, true, "four regions, two, or one"),
    CHOICE("z-scope", z_scope, z_names, true,
           "weights are normalised over the batch or each image"),
    CHOICE("weights", weights, weights_names, true,
           "unlabelled regions weigh by phi, or by how right the reference is there on held-back "
           "labelled patches"),
    NUMBER("held-back", TR_DOUBLE, held_back, 0, 0.9, true,
           "weights auto: share of the labelled patches that the supervised loss never sees"),
    NUMBER("weights-prior", TR_DOUBLE, weights_prior, 0.01, 1e12, true,
           "weights auto: pixels that phi's weights count for"),
    NUMBER("weights-memory", TR_DOUBLE, weights_memory, 0, 1, true,
           "weights auto: what the counts of earlier steps are multiplied by"),
    CHOICE("norm-mode", norm_mode, norm_names, true,
           "CE over the sum of the weights, or the sum of each region's own mean"),
    CHOICE("uc", uc, uc_names, true,
           "region-mean: UC whole, split into background and foreground, or as in the released "
           "2-D code, background twice"),
    CHOICE("lqh-form", lqh_form, lqh_form_names, true,
           "labelled loss in the plain one's place, or lambda times its CE added to that, as in "
           "the released code"),
    FLAG("no-swap", swap_labelled, false, true, "labelled: DC weighs more than DS, as unlabelled"),
    NUMBER("uqh-scale", TR_DOUBLE, uqh_scale, 0, 1e4, true, "factor of the unlabelled loss"),
    NUMBER("lqh-scale", TR_DOUBLE, lqh_scale, 0, 1e4, true, "factor of the labelled loss"),
    FLAG("no-dropout", no_dropout, true, true, "for comparisons with other programs"),
    /* cadence */
    NUMBER("val-every", TR_INT64, val_every, 0, 1e9, false,
           "iterations between validations; 0: at the end"),
    NUMBER("save-every", TR_INT64, save_every, 1, 1e9, false, "iterations between checkpoints"),
    NUMBER("log-every", TR_INT64, log_every, 1, 1e9, false, "iterations between log lines"),
    FLAG("fresh", fresh, true, false, "start over: the old run is moved aside, nothing is deleted"),
};

void tr_options_init(tr_options *o)
{
    *o = (tr_options){
        .loss = TR_LOSS_PLAIN,
        .backend = "cpu",
        .width = 16,
        .init_weights = "pytorch",
        .eval_ema = 0.99,
        .conv = KN_CONV_AUTO,
        .batch_labelled = 12,
        .batch_unlabelled = 12,
        .label_seed = -1,
        .loader_threads = 1,
        .augment = true,
        .jitter_stain = 0.05,
        .jitter_brightness = 0.1,
        .cutmix = 0.5,
        .strong = {.jitter_p = 0.8,
                   .brightness = 0.25,
                   .contrast = 0.25,
                   .saturation = 0.25,
                   .hue = 0.04,
                   .stain_p = 0.5,
                   .stain = 0.05,
                   .blur_p = 0.5,
                   .blur_max = 1.5,
                   .noise_p = 0.25,
                   .noise_max = 0.05,
                   .cutout = 0.25},
        .iterations = 30000,
        .lr = 0.01,
        .lr_power = 0.9,
        .momentum = 0.9,
        .weight_decay = 1e-4,
        .lambda_max = 0.1,
        .ramp = TR_RAMP_PAPER,
        .seed = 1337,
        .sup = TR_SUP_PAPER,
        .dice_eps = 1e-5,
        .use_lqh = true,
        .use_uqh = true,
        .phi = KN_PHI_GAUSS,
        .phi_beta = 3,
        .delta_u = 0.6,
        .delta_l = 0.3,
        .gamma0 = NAN,
        .gamma_a = 0.01,
        .gamma_scope = TR_GAMMA_SEPARATE,
        .gamma_absent = KN_ABSENT_KEEP,
        .confidence = KN_CONF_MAX,
        .partition = KN_PARTITION_QUAD,
        .z_scope = KN_Z_BATCH,
        .threshold = KN_THRESHOLD_ADAPTIVE,
        .flexmatch_tau = 0.95,
        .flexmatch_ema = 0.99,
        .freematch_ema = 0.999,
        .norm_mode = KN_CE_Z,
        .uc = KN_UC_WHOLE,
        .lqh_form = TR_LQH_REPLACE,
        .swap_labelled = true,
        .weights = TR_WEIGHTS_FIXED,
        .held_back = 0.1,
        .weights_prior = 4096,
        .weights_memory = 0.99,
        .uqh_scale = 1,
        .lqh_scale = 1,
        .val_every = 200,
        .save_every = 500,
        .log_every = 10,
    };
    tr_options_set_method(o, "MT", NULL);
}

static const tr_option *find_option(const char *name)
{
    for (size_t i = 0; i < G_N_ELEMENTS(table); i++)
        if (!strcmp(table[i].name, name))
            return &table[i];
    return NULL;
}

static bool parse_option(const tr_option *option, const char *text, tr_options *options,
                         GError **error);

/* Options that the method has defaults of its own for: those, or the general ones again. */
static void set_defaults(tr_options *options, const ssl_method *method, bool own)
{
    tr_options general = {0};
    for (int i = 0; method->defaults && method->defaults[i][0]; i++) {
        const tr_option *option = find_option(method->defaults[i][0]);
        g_assert(option);
        if (!own && !general.method)
            tr_options_init(&general);
        g_autofree char *text =
            own ? g_strdup(method->defaults[i][1]) : tr_option_text(option, &general);
        bool fits = parse_option(option, text, options, NULL);
        g_assert(fits); /* the tests of options set every method's */
    }
}

bool tr_options_set_method(tr_options *options, const char *name, GError **error)
{
    const ssl_method *method = ssl_method_find(name, error);
    if (!method)
        return false;
    const ssl_method *before = options->method ? ssl_method_find(options->method, NULL) : NULL;
    if (before)
        set_defaults(options, before, false);
    options->method = method->name;
    memset(options->method_values, 0, sizeof options->method_values);
    for (int i = 0; i < ssl_method_n_options(method); i++)
        options->method_values[i] = method->options[i].value;
    set_defaults(options, method, true);
    return true;
}

const tr_option *tr_option_table(size_t *n)
{
    *n = G_N_ELEMENTS(table);
    return table;
}

static char *number_text(double value)
{
    if (isnan(value))
        return g_strdup("auto");
    char text[G_ASCII_DTOSTR_BUF_SIZE];
    for (int digits = 6; digits <= 17; digits++) { /* the shortest that reads back the same */
        char format[8];
        g_snprintf(format, sizeof format, "%%.%dg", digits);
        g_ascii_formatd(text, sizeof text, format, value);
        if (g_ascii_strtod(text, NULL) == value)
            break;
    }
    return g_strdup(text);
}

char *tr_option_text(const tr_option *option, const tr_options *options)
{
    const char *at = (const char *)options + option->offset;
    switch (option->kind) {
    case TR_INT:
        return g_strdup_printf("%d", *(const int *)(const void *)at);
    case TR_INT64:
        return g_strdup_printf("%" G_GINT64_FORMAT, *(const int64_t *)(const void *)at);
    case TR_UINT64:
        return g_strdup_printf("%" G_GUINT64_FORMAT, *(const uint64_t *)(const void *)at);
    case TR_DOUBLE:
        return number_text(*(const double *)(const void *)at);
    case TR_BOOL:
        return g_strdup(*(const bool *)(const void *)at == option->flag_value ? "true" : "false");
    case TR_ENUM:
        return g_strdup(option->values[*(const unsigned *)(const void *)at]);
    case TR_STRING:
        break;
    }
    const char *text = *(const char *const *)(const void *)at;
    return g_strdup(text ? text : "");
}

static bool parse_number(const char *name, double min, double max, const char *text, double *value,
                         GError **error)
{
    char *end = NULL;
    *value = g_ascii_strtod(text, &end);
    if (end != text && !*end && *value >= min && *value <= max)
        return true;
    g_set_error(error, QS_ERROR, QS_ERROR_ARG, "--%s %s: a number from %g to %g is wanted", name,
                text, min, max);
    return false;
}

static bool parse_enum(const tr_option *option, const char *text, unsigned *value, GError **error)
{
    for (unsigned i = 0; option->values[i]; i++) {
        if (g_ascii_strcasecmp(option->values[i], text) == 0) {
            *value = i;
            return true;
        }
    }
    g_autofree char *known = g_strjoinv(", ", (char **)(uintptr_t)option->values);
    g_set_error(error, QS_ERROR, QS_ERROR_ARG, "--%s %s: one of %s is wanted", option->name, text,
                known);
    return false;
}

static bool parse_integer(const tr_option *option, const char *text, void *at, GError **error)
{
    guint64 u = 0;
    gint64 i = 0;
    bool ok = option->kind == TR_UINT64
                  ? g_ascii_string_to_unsigned(text, 10, 0, G_MAXUINT64, &u, NULL)
                  : g_ascii_string_to_signed(text, 10, (gint64)option->min, (gint64)option->max, &i,
                                             NULL);
    if (!ok) {
        g_set_error(error, QS_ERROR, QS_ERROR_ARG,
                    "--%s %s: a whole number from %.10g to %.10g is wanted", option->name, text,
                    option->min, option->max);
        return false;
    }
    if (option->kind == TR_UINT64)
        *(uint64_t *)at = u;
    else if (option->kind == TR_INT64)
        *(int64_t *)at = i;
    else
        *(int *)at = (int)i;
    return true;
}

static bool parse_option(const tr_option *option, const char *text, tr_options *options,
                         GError **error)
{
    void *at = (char *)options + option->offset;
    switch (option->kind) {
    case TR_INT:
    case TR_INT64:
    case TR_UINT64:
        return parse_integer(option, text, at, error);
    case TR_DOUBLE:
        if (option->offset == AT(gamma0) && !strcmp(text, "auto")) {
            options->gamma0 = NAN;
            return true;
        }
        return parse_number(option->name, option->min, option->max, text, at, error);
    case TR_BOOL:
        if (strcmp(text, "true") != 0 && strcmp(text, "false") != 0) {
            g_set_error(error, QS_ERROR, QS_ERROR_ARG, "--%s %s: true or false is wanted",
                        option->name, text);
            return false;
        }
        *(bool *)at = strcmp(text, "true") == 0 ? option->flag_value : !option->flag_value;
        return true;
    case TR_ENUM:
        return parse_enum(option, text, at, error);
    case TR_STRING:
        break;
    }
    *(const char **)at = *text ? text : NULL;
    return true;
}

bool tr_options_set(tr_options *options, const char *name, const char *text, GError **error)
{
    const tr_option *option = find_option(name);
    if (option)
        return parse_option(option, text, options, error);
    const ssl_method *method = ssl_method_find(options->method, error);
    if (!method)
        return false;
    for (int i = 0; i < ssl_method_n_options(method); i++) {
        const ssl_option *o = &method->options[i];
        if (!strcmp(o->name, name))
            return parse_number(name, o->min, o->max, text, &options->method_values[i], error);
    }
    g_set_error(error, QS_ERROR, QS_ERROR_ARG, "--%s: method %s has no such option", name,
                method->name);
    return false;
}

char *tr_options_to_text(const tr_options *options, bool matters_only)
{
    GString *text = g_string_new(NULL);
    g_string_append_printf(text, "method=%s\n", options->method);
    for (size_t i = 0; i < G_N_ELEMENTS(table); i++) {
        if (matters_only && !table[i].matters)
            continue;
        g_autofree char *value = tr_option_text(&table[i], options);
        g_string_append_printf(text, "%s=%s\n", table[i].name, value);
    }
    const ssl_method *method = ssl_method_find(options->method, NULL);
    for (int i = 0; method && i < ssl_method_n_options(method); i++) {
        g_autofree char *value = number_text(options->method_values[i]);
        g_string_append_printf(text, "%s=%s\n", method->options[i].name, value);
    }
    return g_string_free(text, FALSE);
}

/* The value of "name=value" among lines; NULL when the name is not there. */
static char *line_value(char *const *lines, const char *name, size_t n_name)
{
    for (int i = 0; lines[i]; i++)
        if (!strncmp(lines[i], name, n_name) && lines[i][n_name] == '=')
            return lines[i] + n_name + 1;
    return NULL;
}

const char *tr_option_before(const char *name, size_t n_name)
{
    static const char *const before[][2] = {
        {"init-weights", "pytorch"}, {"bn", "joint"},      {"eval-weights", "last"},
        {"eval-ema", "0.99"},        {"warmup", "0"},      {"clip", "0"},
        {"gamma-start", "gamma0"},   {"whole-batch", "1"},
    };
    for (size_t i = 0; i < G_N_ELEMENTS(before); i++)
        if (strlen(before[i][0]) == n_name && !strncmp(before[i][0], name, n_name))
            return before[i][1];
    return NULL;
}

char *tr_options_difference(const char *was, const char *is)
{
    g_auto(GStrv) old_lines = g_strsplit(was, "\n", -1);
    g_auto(GStrv) new_lines = g_strsplit(is, "\n", -1);
    for (int i = 0; new_lines[i]; i++) {
        const char *equals = strchr(new_lines[i], '=');
        if (!equals)
            continue;
        int n = (int)(equals - new_lines[i]);
        const char *old = line_value(old_lines, new_lines[i], (size_t)n);
        if (!old)
            old = tr_option_before(new_lines[i], (size_t)n);
        if (!old) /* a run from before the option had none */
            old = "";
        if (strcmp(old, equals + 1) != 0)
            return g_strdup_printf("%.*s is \"%s\", was \"%s\"", n, new_lines[i], equals + 1, old);
    }
    for (int i = 0; old_lines[i]; i++) {
        const char *equals = strchr(old_lines[i], '=');
        if (equals && !line_value(new_lines, old_lines[i], (size_t)(equals - old_lines[i])))
            return g_strdup_printf("%s is no option any more", old_lines[i]);
    }
    return NULL;
}

/* The kind of network k of a list like "he,xavier", whose last name is that of all others too; -1:
 * there is a name that is none. */
static int init_in_list(const char *list, int k)
{
    g_auto(GStrv) names = g_strsplit(list ? list : "", ",", -1);
    int n = (int)g_strv_length(names), kind = -1;
    for (int i = 0; i < n; i++) {
        int found = -1;
        for (int v = 0; init_names[v]; v++)
            if (!g_ascii_strcasecmp(init_names[v], g_strstrip(names[i])))
                found = v;
        if (found < 0)
            return -1;
        if (i == MIN(k, n - 1))
            kind = found;
    }
    return kind;
}

kn_init tr_options_init_of(const tr_options *options, const ssl_plan *plan, int k)
{
    static const kn_init kinds[] = {KN_INIT_PYTORCH, KN_INIT_HE, KN_INIT_XAVIER};
    while (plan->nets[k].copy_of != SSL_NONE)
        k = plan->nets[k].copy_of;
    int nth = 0;
    for (int e = 0; e < k; e++)
        nth += plan->nets[e].copy_of == SSL_NONE;
    int found = init_in_list(options->init_weights, nth);
    return found < 0 ? KN_INIT_PYTORCH : kinds[found];
}

bool tr_options_plan(const tr_options *options, ssl_plan *plan, GError **error)
{
    const ssl_method *method = ssl_method_find(options->method, error);
    ssl_config config = tr_options_config(options);
    if (!method)
        return false;
    method->plan(&config, plan);
    if (!ssl_plan_check(plan, error))
        return false;
    bool ok = options->bn == TR_BN_JOINT || ssl_plan_split(plan, error);
    if (options->eval_weights == TR_EVAL_EMA)
        ok = ok && ssl_plan_average(plan, options->eval_ema, error);
    else if (options->eval_weights == TR_EVAL_TEACHER)
        ok = ok && ssl_plan_teacher(plan, error);
    if (!ok) {
        g_prefix_error(error, "%s: ", method->name);
        return false;
    }
    return ssl_plan_check(plan, error);
}

bool tr_options_check(const tr_options *o, GError **error)
{
    if (!ssl_method_find(o->method, error))
        return false;
    const char *problem = NULL;
    if (o->loss == TR_LOSS_METASSL && ssl_method_find(o->method, NULL)->plain_only)
        problem = "--loss metassl: the method is one that MetaSSL is compared with and has its own "
                  "loss alone (--loss plain)";
    else if (!o->out_dir || !*o->out_dir)
        problem = "--out: the folder of the run is wanted";
    else if (o->width != 8 && o->width != 16 && o->width != 32)
        problem = "--width: 8, 16 and 32 are the three widths";
    else if (!o->backend)
        problem = "--device: cpu or ref is wanted";
    else if (o->threshold >= KN_THRESHOLD_FLEXMATCH && o->confidence != KN_CONF_MAX)
        problem = "--threshold flexmatch and freematch are rules on probabilities: they go with "
                  "--confidence max";
    else if (o->norm_mode == KN_CE_REGION_MEAN && o->z_scope == KN_Z_IMAGE)
        problem =
            "--norm-mode region-mean has no Z to take over an image: leave --z-scope at batch";
    else if (o->norm_mode != KN_CE_REGION_MEAN && o->uc != KN_UC_WHOLE)
        problem = "--uc split and released divide a region mean: they go with --norm-mode "
                  "region-mean";
    else if (init_in_list(o->init_weights, 0) < 0)
        problem = "--init-weights: he, xavier or pytorch is wanted, or several with commas between";
    else if (o->width == 8 && !strcmp(o->backend, "cuda"))
        problem = "--width 8 is not there on --device cuda: 16 and 32 are";
    else if (o->clip > 0 && !strcmp(o->backend, "cuda"))
        problem = "--clip is not there on --device cuda: leave it at 0";
    if (!problem)
        return true;
    g_set_error_literal(error, QS_ERROR, QS_ERROR_ARG, problem);
    return false;
}

ssl_config tr_options_config(const tr_options *o)
{
    bool meta = o->loss == TR_LOSS_METASSL;
    return (ssl_config){
        .lqh = meta && o->use_lqh,
        .uqh = meta && o->use_uqh,
        .lqh_added = o->lqh_form == TR_LQH_ADD,
        .batch_labelled = o->batch_labelled,
        .batch_unlabelled = o->batch_unlabelled,
        .values = o->method_values,
    };
}
