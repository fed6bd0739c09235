/* The parts of BCP that SDCL is built on. */
#ifndef QS_TRAIN_SSL_BCP_H
#define QS_TRAIN_SSL_BCP_H

#include "train/plan/method.h"

enum { SSL_BCP_STAGE_0 = 1, SSL_BCP_STAGE_1 = 2 }; /* bits of `stages` */

/* Batches of as many labelled as unlabelled images, in pairs; the box and the share of stage 0. */
void ssl_bcp_shape(const ssl_config *config, double box, double pretrain, ssl_plan *plan);
/* Stage 0 of a student: labelled images in labelled ones, each region its own supervised loss. */
void ssl_bcp_pretraining(ssl_plan *plan, int student);
/* What the teacher says of the mixed images of stage 1, on labelled ones too where asked for.
 * Returns the forward. filter of its unlabelled predictions; NULL: none. */
int ssl_bcp_reference(ssl_plan *plan, int teacher, ssl_filter filter, bool labelled);
/* A student's forward on the mixed images of stage 1. */
int ssl_bcp_mixed(ssl_plan *plan, int student);
/* The teacher is the student's copy at stage 1, then its average with running statistics. */
void ssl_bcp_teacher(ssl_plan *plan, int teacher, int student, double alpha);

#endif
