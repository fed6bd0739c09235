/* What SL and FullSup share: one network, one labelled term. */
#ifndef QS_TRAIN_SSL_SUPERVISED_H
#define QS_TRAIN_SSL_SUPERVISED_H

#include "train/plan/method.h"

/* Their constants. */
extern const ssl_option ssl_supervised_options[];

void ssl_plan_supervised(const ssl_config *config, ssl_pool pool, ssl_plan *plan);

#endif
