/* What SL and FullSup share: one network, one labelled term. */
#ifndef QS_TRAIN_SSL_SUPERVISED_H
#define QS_TRAIN_SSL_SUPERVISED_H

#include "train/plan/method.h"

void ssl_plan_supervised(const ssl_config *config, ssl_pool pool, ssl_plan *plan);

#endif
