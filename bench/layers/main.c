/* `quadslide bench` as a program of its own, for builds without the slide libraries:
 *   qs_bench [OPTION…]
 * Exit status as quadslide's: 0 done, 1 failed, 2 wrong usage. */
#include "bench/layers/layers.h"

#include "base/error.h"
#include "kernels/cuda/cuda.h"

#include <stdio.h>

static int fail(const GError *error)
{
    fprintf(stderr, "qs_bench: %s\n", error->message);
    return error->domain == G_OPTION_ERROR || g_error_matches(error, QS_ERROR, QS_ERROR_ARG) ? 2
                                                                                             : 1;
}

int main(int argc, char **argv)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(GOptionContext) context =
        g_option_context_new("- time, bytes and FLOP of each layer");
    layers_result result;
#ifdef QS_HAVE_CUDA
    kn_cuda_register();
#endif
    g_option_context_add_main_entries(context, layers_entries, NULL);
    if (!g_option_context_parse(context, &argc, &argv, &error) ||
        !layers_check(&layers_opt, &error))
        return fail(error);
    bool ok = layers_run(&layers_opt, &result, &error);
    g_autofree char *text = ok ? layers_report(&result) : NULL;
    if (ok)
        fputs(text, stdout);
    layers_clear(&result);
    return ok ? 0 : fail(error);
}
