/* The selftest as a program of its own, for builds without the slide libraries:
 *   qs_selftest [cpu|cuda]
 * Exit status as quadslide's: 0 all passed, 1 not. */
#include "tests/selftest/selftest.h"

#include "kernels/cuda/cuda.h"

#include <stdio.h>

static void say(void *user, const char *line)
{
    (void)user;
    printf("%s\n", line);
    fflush(stdout);
}

int main(int argc, char **argv)
{
    selftest_result result;
    g_autoptr(GError) error = NULL;
#ifdef QS_HAVE_CUDA
    kn_cuda_register();
#endif
    if (!selftest_run(argc > 1 ? argv[1] : "cpu", say, NULL, &result, &error)) {
        fprintf(stderr, "qs_selftest: %s\n", error->message);
        return 1;
    }
    printf("%d passed, %d failed\n", result.n_passed, result.n_failed);
    return result.n_failed > 0;
}
