/* Training in bf16 on the CPU: near what f32 gives, and the same bits again after a stop. */
#include "base/error.h"
#include "tests/train/fixture.h"

#include <string.h>

enum { PX = 32, ITEMS = 6, LABELLED = 3, STEPS = 4 };

typedef struct {
    const char *method;
    tr_loss loss;
} recipe;

static const recipe recipes[] = {{"MT", TR_LOSS_METASSL},     {"CPS", TR_LOSS_METASSL},
                                 {"CCT", TR_LOSS_PLAIN},      {"BCP", TR_LOSS_METASSL},
                                 {"R-Drop", TR_LOSS_METASSL}, {"FixMatch", TR_LOSS_METASSL}};

static tr_options options_of(const recipe *r, kn_precision precision, const char *dir)
{
    tr_options o;
    fixture_options_init(&o, r->method, r->loss, dir);
    o.precision = precision;
    o.batch_labelled = o.batch_unlabelled = 2;
    o.iterations = STEPS;
    o.log_every = 1;
    o.lr = 1e-3; /* so that rounding has no time to grow */
    return o;
}

/* Trains to the end, or until iteration `until` (0: the end). False, and the test is skipped, where
 * the processor has no bf16. */
static bool train(const tr_options *o, int64_t until)
{
    fixture_source s;
    g_autoptr(GError) error = NULL;
    fixture_source_init(&s, PX, ITEMS, LABELLED);
    bool ok = fixture_run_until(o, &s, until, &error);
    fixture_source_clear(&s);
    if (error && strstr(error->message, "no instructions for it")) {
        g_test_skip("bf16 needs AVX-512 BF16");
        return false;
    }
    if (until > 0)
        g_assert_error(error, QS_ERROR, QS_ERROR_STOPPED);
    else
        g_assert_no_error(error);
    g_assert_true(ok == (until == 0));
    return true;
}

static void test_beside_f32(gconstpointer data)
{
    char *f32 = fixture_dir(), *bf16 = fixture_dir();
    tr_options wide = options_of(data, KN_PRECISION_F32, f32);
    tr_options narrow = options_of(data, KN_PRECISION_BF16, bf16);
    if (train(&narrow, 0) && train(&wide, 0)) {
        double apart = fixture_difference(f32, bf16);
        g_test_message("after %d steps %.2g apart", STEPS, apart);
        g_assert_true(apart > 0 && apart <= 0.1);
    }
    fixture_dir_remove(f32);
    fixture_dir_remove(bf16);
}

static void test_resume(gconstpointer data)
{
    char *whole = fixture_dir(), *again = fixture_dir();
    tr_options o = options_of(data, KN_PRECISION_BF16, whole);
    if (train(&o, 0)) {
        o.out_dir = again;
        train(&o, 2);
        train(&o, 0);
        g_autofree char *a = g_build_filename(whole, "last.safetensors", NULL);
        g_autofree char *b = g_build_filename(again, "last.safetensors", NULL);
        fixture_assert_same(a, b, "");
    }
    fixture_dir_remove(again);
    fixture_dir_remove(whole);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    for (size_t i = 0; i < G_N_ELEMENTS(recipes); i++) {
        g_autofree char *beside = g_strdup_printf("/train-bf16/beside-f32/%s", recipes[i].method);
        g_autofree char *resume = g_strdup_printf("/train-bf16/resume/%s", recipes[i].method);
        g_test_add_data_func(beside, &recipes[i], test_beside_f32);
        g_test_add_data_func(resume, &recipes[i], test_resume);
    }
    return g_test_run();
}
