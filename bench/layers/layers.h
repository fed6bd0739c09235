/* What `quadslide bench` does: a training step and an inference of the network on one device, layer
 * by layer, beside what the device could do at best (a roofline). Shared with the program of
 * scripts/gpu-bundle, which is built without the slide libraries.
 *
 * A training step is forward, CE + Dice, backward, SGD and a teacher's moving average. Rounds with
 * the clock in every layer and rounds without alternate; the step's time is the median of those
 * without, a layer's the mean of those with. On a GPU the clock waits for each layer, so the layers
 * together take longer than a step: both are told. */
#ifndef QS_BENCH_LAYERS_H
#define QS_BENCH_LAYERS_H

#include "kernels/net/profile.h"

typedef struct {
    char *device, *precision, *conv, *only; /* only: "train", "infer"; NULL both */
    int width, batch, patch, classes, threads, rounds;
    double peak_gflops, bandwidth_gbs; /* 0: measured */
    gboolean json;
} layers_options;

/* The options as GOption knows them, NULL-terminated; parsing fills layers_opt. */
extern layers_options layers_opt;
extern const GOptionEntry layers_entries[];
/* Sets what was left out and checks ranges: QS_ERROR_ARG. */
bool layers_check(layers_options *options, GError **error);

/* One part of a layer, or what a step has beside its layers ("packing", "loss", "optimiser"). */
typedef struct {
    char *name, *op, *how; /* owned */
    const char *part;      /* "fwd", "bwd_d", "bwd_w"; "" beside the layers */
    int ic, oc, h, w;
    double flop, bytes, seconds;
    double roof_seconds; /* the least that the roofline allows */
} layers_row;

typedef struct {
    bool train;
    double seconds, clocked_seconds; /* of a step: median without the clock, median with it */
    GArray *rows;                    /* layers_row, owned */
} layers_mode;

typedef struct {
    layers_options options;
    char *device; /* the engine's description, owned */
    kn_peak peak;
    bool peak_measured, bandwidth_measured;
    int n_modes;
    layers_mode modes[2];
} layers_result;

/* QS_ERROR_ARG, UNSUPPORTED or MEMORY as the engine gives them; QS_ERROR_STOPPED. */
bool layers_run(const layers_options *options, layers_result *result, GError **error);
void layers_clear(layers_result *result);

/* The table, or one JSON object when options.json; owned text. */
char *layers_report(const layers_result *result);

#endif
