/* Small things to train on, in memory: noisy discs on stripes, a pure function of the item. */
#ifndef QS_TESTS_TRAIN_FIXTURE_H
#define QS_TESTS_TRAIN_FIXTURE_H

#include "train/run/trainer.h"

typedef struct {
    tr_source source;
    tr_item *items;
    bool corrupt;  /* unlabelled items have other labels */
    int fail_item; /* that cannot be read; -1 none */
} fixture_source;

/* n items of px × px, the first n_labelled labelled; all have labels. */
void fixture_source_init(fixture_source *s, int px, int n, int n_labelled);
void fixture_source_clear(fixture_source *s);
void fixture_spec_init(model_spec *spec, int px);
/* Tiny batches, few iterations, direct convolutions; out_dir as given. */
void fixture_options_init(tr_options *options, const char *method, tr_loss loss,
                          const char *out_dir);
/* A new folder below the temporary folder, owned; and its removal. */
char *fixture_dir(void);
void fixture_dir_remove(char *dir);
/* Runs, asserting success. */
void fixture_train(const tr_options *options, const fixture_source *s,
                   const tr_callbacks *callbacks);
/* Runs to the end, or until iteration `until`, where it is asked to stop (0: the end). */
bool fixture_run_until(const tr_options *options, const fixture_source *s, int64_t until,
                       GError **error);
/* The same, asserting that it ended so. */
void fixture_train_until(const tr_options *options, const fixture_source *s, int64_t until);
/* The named tensors of two files hold the same bytes; asserts with the first that does not. suffix:
 * only names that end so ("" all). */
void fixture_assert_same(const char *path_a, const char *path_b, const char *suffix);
bool fixture_same(const char *path_a, const char *path_b, const char *suffix);

/* The largest |a - b| of the tensors of two runs' last models, each relative to the largest of its
 * tensor. */
double fixture_difference(const char *dir_a, const char *dir_b);

#endif
