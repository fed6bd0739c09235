/* See print_scores.h. */
#include "cli/print_scores.h"

#include "cli/cli.h"

void cli_print_unscored(job_scores *scores)
{
    for (guint i = 0; scores->items && i < scores->n; i++)
        if (scores->items[i].error)
            cli_fail(g_steal_pointer(&scores->items[i].error));
}
