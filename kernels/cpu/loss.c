/* Chooses the loss's passes for this machine. All tables give the same bits, so the choice is one
 * of speed alone. QS_DISABLE=v4,v3 masks tables. */
#include "kernels/cpu/loss_isa.h"
#include "kernels/engine/engine_priv.h"

static bool runs_v1(void)
{
    return true;
}

#ifdef __x86_64__
static bool runs_v3(void)
{
    return __builtin_cpu_supports("x86-64-v3") && !kn_disabled("v3");
}

static bool runs_v4(void)
{
    return __builtin_cpu_supports("x86-64-v4") && !kn_disabled("v4");
}
#endif

static const struct {
    bool (*runs)(void);
    const kn_loss_ops *ops;
} tables[] = {
    {runs_v1, &kn_cpu_loss_ops_v1},
#ifdef __x86_64__
    {runs_v3, &kn_cpu_loss_ops_v3},
    {runs_v4, &kn_cpu_loss_ops_v4},
#endif
};

const kn_loss_ops *kn_cpu_loss_ops_at(int i)
{
    for (size_t t = 0; t < G_N_ELEMENTS(tables); t++)
        if (tables[t].runs() && i-- == 0)
            return tables[t].ops;
    return NULL;
}

const kn_loss_ops *kn_cpu_loss_ops(void)
{
    static gsize chosen; /* the table's address */
    if (g_once_init_enter(&chosen)) {
        const kn_loss_ops *best = NULL;
        for (int i = 0; kn_cpu_loss_ops_at(i); i++)
            best = kn_cpu_loss_ops_at(i);
        g_once_init_leave(&chosen, (gsize)best);
    }
    return (const kn_loss_ops *)chosen;
}
