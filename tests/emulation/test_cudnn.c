/* What cuDNN itself has for GPUs that are not here: its heuristics and plans are asked with the
 * properties of an A100, an H100 and a B200. Every convolution that the backend would ask for must
 * have deterministic plans with small workspaces, which are built again from their names. What they
 * compute is checked where there is a GPU, before a plan is used (plans.c). */
#include "kernels/cuda/cudnn_plan.h"

#include <string.h>

enum { PLANS = 8, WORKSPACE_MOST = 64 << 20 };

/* About as NVIDIA publishes them, in the words of cuDNN's own JSON. */
typedef struct {
    const char *name;
    int sm, n_sm, shared_optin, l2_mib;
    double gib;
    int clock_khz, memory_khz, bus_bits;
} gpu;

static const gpu GPUS[] = {
    {"A100", 800, 108, 166912, 40, 80, 1410000, 1593000, 5120},
    {"H100", 900, 132, 232448, 50, 80, 1980000, 2619000, 5120},
    {"B200", 1000, 148, 232448, 126, 180, 1965000, 3996000, 8192},
};

static char *json_of(const gpu *g)
{
    return g_strdup_printf(
        "{\"deviceName\":\"%s\",\"deviceVer\":%d,\"driverVer\":13000,\"cudaDeviceId\":0,"
        "\"pciDeviceId\":0,\"multiProcessorCount\":%d,\"smCountOrigin\":0,\"warpSize\":32,"
        "\"maxThreadsPerBlock\":1024,\"maxThreadsPerSM\":2048,\"maxCtasPerSM\":32,"
        "\"regsPerBlock\":65536,\"maxRegistersPerSM\":65536,\"maxSharedMemoryPerBlock\":49152,"
        "\"maxSharedMemoryPerBlockOptin\":%d,\"reservedSharedMemoryPerBlock\":1024,"
        "\"oversizedSharedMemoryPerBlock\":0,\"l2CacheSize\":%d,\"totalGlobalMem\":%.0f,"
        "\"smClockRateKHz\":%d,\"memClockRateKHz\":%d,\"memoryBusWidth\":%d,"
        "\"supportCoopLaunch\":1,\"isTccDriver\":0,\"maxBlockSize\":[1024,1024,64],"
        "\"maxGridSize\":[2147483647,65535,65535]}",
        g->name, g->sm, g->n_sm, g->shared_optin, g->l2_mib << 20, g->gib * (1 << 30), g->clock_khz,
        g->memory_khz, g->bus_bits);
}

/* Level, channels in and out, taps: what the network of width 16 has between its edges. */
static const int LAYERS[][4] = {
    {0, 16, 16, 3},   {1, 16, 32, 3},   {1, 32, 32, 3},   {2, 32, 64, 3},   {2, 64, 64, 3},
    {3, 64, 128, 3},  {3, 128, 128, 3}, {4, 128, 256, 3}, {4, 256, 256, 3}, {4, 256, 128, 1},
    {3, 256, 128, 3}, {3, 128, 64, 1},  {2, 128, 64, 3},  {2, 64, 32, 1},   {1, 64, 32, 3},
    {1, 32, 16, 1},   {0, 32, 16, 3},
};

static kn_cudnn *open_for(const gpu *g)
{
    GError *error = NULL;
    g_autofree char *json = json_of(g);
    kn_cudnn *cudnn = kn_cudnn_open_for(json, &error);
    g_assert_no_error(error);
    g_assert_cmpint(kn_cudnn_version(cudnn), >=, 90800);
    return cudnn;
}

static int check_direction(kn_cudnn *cudnn, const kn_cudnn_shape *s, kn_cudnn_direction direction)
{
    kn_cudnn_plan *plans[PLANS];
    int n = kn_cudnn_plans(cudnn, s, direction, WORKSPACE_MOST, plans, PLANS);
    for (int i = 0; i < n; i++) {
        const char *name = kn_cudnn_plan_name(plans[i]);
        g_assert_cmpuint(kn_cudnn_plan_workspace(plans[i]), <=, WORKSPACE_MOST);
        g_assert_null(strchr(name, ',')); /* as the table of choices is written down */
        kn_cudnn_plan *again = kn_cudnn_plan_named(cudnn, s, direction, name);
        g_assert_nonnull(again);
        g_assert_cmpstr(kn_cudnn_plan_name(again), ==, name);
        g_assert_cmpuint(kn_cudnn_plan_workspace(again), ==, kn_cudnn_plan_workspace(plans[i]));
        kn_cudnn_plan_destroy(again);
    }
    for (int i = 0; i < n; i++)
        kn_cudnn_plan_destroy(plans[i]);
    return n;
}

static void test_plans(gconstpointer user)
{
    const gpu *g = user;
    kn_cudnn *cudnn = open_for(g);
    for (size_t i = 0; i < G_N_ELEMENTS(LAYERS); i++) {
        const int *l = LAYERS[i];
        kn_cudnn_shape s = {.n = 24,
                            .h = 256 >> l[0],
                            .w = 256 >> l[0],
                            .ic = l[1],
                            .oc = l[2],
                            .k = l[3],
                            .io = KN_BF16};
        int n[3];
        for (int d = 0; d < 3; d++)
            n[d] = check_direction(cudnn, &s, (kn_cudnn_direction)d);
        s.epilogue = s.leaky = true;
        int fused = kn_cudnn_offers(cudnn, &s, KN_CUDNN_FWD);
        g_test_message("%s: %d to %d, %dx%d at %d: %d forward, %d data, %d weights; %d with bias "
                       "and LeakyReLU",
                       g->name, s.ic, s.oc, s.k, s.k, s.h, n[0], n[1], n[2], fused);
        g_assert_cmpint(MIN(n[0], MIN(n[1], n[2])), >=, 1);
        g_assert_cmpint(fused, >=, 1);
    }
    kn_cudnn_close(cudnn);
}

static void test_refused(void)
{
    GError *error = NULL;
    kn_cudnn *cudnn = open_for(&GPUS[1]);
    kn_cudnn_shape s = {.n = 1, .h = 16, .w = 16, .ic = 16, .oc = 16, .k = 3, .io = KN_BF16};
    static const char *const names[] = {"", "e", "x5", "e1.k2", "e99999", "e5.7=1"};
    for (size_t i = 0; i < G_N_ELEMENTS(names); i++)
        g_assert_null(kn_cudnn_plan_named(cudnn, &s, KN_CUDNN_FWD, names[i]));
    kn_cudnn_close(cudnn);
    g_assert_null(kn_cudnn_open_for("{}", &error));
    g_assert_nonnull(strstr(error->message, "cuDNN: device properties"));
    g_clear_error(&error);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    for (size_t i = 0; i < G_N_ELEMENTS(GPUS); i++) {
        g_autofree char *path = g_strdup_printf("/cudnn/plans/%s", GPUS[i].name);
        g_test_add_data_func(path, &GPUS[i], test_plans);
    }
    g_test_add_func("/cudnn/refused", test_refused);
    return g_test_run();
}
