/* FullSup: supervised learning on every row that has a label, the upper bound of a comparison. The
 * only method whose loss may see the labels of rows that are marked unlabelled. */
#include "train/ssl/supervised.h"

static void plan_fullsup(const ssl_config *config, ssl_plan *plan)
{
    ssl_plan_supervised(config, SSL_POOL_ALL, plan);
}

extern const ssl_method ssl_method_fullsup;
const ssl_method ssl_method_fullsup = {
    .name = "FullSup",
    .summary = "supervised on every slide that has a mask, labelled or not",
    .options = ssl_supervised_options,
    .plan = plan_fullsup,
};
