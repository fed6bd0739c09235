/* A main() for a fuzz target where there is no libFuzzer: every file of the named folders goes
 * through the target as it is, cut at every eighth of its length, and with bytes changed at places
 * and to values that a fixed seed chooses. Prints TAP; a target that aborts ends the program, which
 * ctest reports. */
#include "tests/fuzz/fuzz.h"

#include <glib.h>
#include <stdbool.h>
#include <string.h>

enum { CHANGED = 60, CUTS = 8, BYTES_MAX = 1 << 20 };

static void replay(const uint8_t *bytes, size_t n, GRand *random)
{
    LLVMFuzzerTestOneInput(bytes, n);
    g_autofree uint8_t *copy = g_malloc(n + 1);
    for (size_t i = 1; i < CUTS; i++)
        LLVMFuzzerTestOneInput(bytes, n * i / CUTS);
    for (int k = 0; n > 0 && k < CHANGED; k++) {
        memcpy(copy, bytes, n);
        for (int i = g_rand_int_range(random, 1, 5); i > 0; i--) {
            static const uint8_t hostile[] = {0, 1, 0x7f, 0x80, 0xff};
            size_t at = (size_t)g_rand_int_range(random, 0, (gint32)n);
            bool odd = g_rand_boolean(random);
            copy[at] = odd ? (uint8_t)g_rand_int_range(random, 0, 256)
                           : hostile[g_rand_int_range(random, 0, G_N_ELEMENTS(hostile))];
        }
        LLVMFuzzerTestOneInput(copy, n);
    }
}

static gint by_name(gconstpointer a, gconstpointer b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static int replay_folder(const char *dir, GRand *random)
{
    g_autoptr(GDir) handle = g_dir_open(dir, 0, NULL);
    g_autoptr(GPtrArray) names = g_ptr_array_new_with_free_func(g_free);
    for (const char *name; handle && (name = g_dir_read_name(handle));)
        g_ptr_array_add(names, g_build_filename(dir, name, NULL));
    g_ptr_array_sort(names, by_name);
    int n_files = 0;
    for (guint i = 0; i < names->len; i++) {
        char *bytes;
        gsize n;
        if (!g_file_get_contents(names->pdata[i], &bytes, &n, NULL))
            continue;
        printf("# %s\n", (char *)names->pdata[i]);
        fflush(stdout);
        if (n <= BYTES_MAX)
            replay((const uint8_t *)bytes, n, random);
        n_files++;
        g_free(bytes);
    }
    return n_files;
}

int main(int argc, char **argv)
{
    int n_bad = 0;
    for (int i = 1; i < argc; i++) {
        g_autoptr(GRand) random = g_rand_new_with_seed(20);
        int n = replay_folder(argv[i], random);
        printf("%s %d /fuzz/replay/%s\n", n > 0 ? "ok" : "not ok", i, argv[i]);
        if (n == 0)
            printf("# no file there\n");
        n_bad += n == 0;
    }
    printf("1..%d\n", argc - 1);
    return n_bad > 0 || argc < 2;
}
