/* From a request to its answer: guard, route, and what each address gives. Thread-safe. */
#ifndef QS_VIEW_ANSWER_H
#define QS_VIEW_ANSWER_H

#include "view/draft.h"
#include "view/guard.h"
#include "view/shown.h"

typedef struct vw_service vw_service;

/* shown, guard and drafts are borrowed. drafts: where the user's outlines go; NULL: nothing is ever
 * written. */
vw_service *vw_service_create(const vw_shown *shown, const vw_guard *guard, vw_drafts *drafts);
void vw_service_destroy(vw_service *service); /* NULL accepted; no request is being answered */
/* Bytes of memory that tiles and open slides take at most. */
int64_t vw_service_memory(const vw_service *service);
void vw_service_answer(vw_service *service, const vw_request *request, vw_answer *answer);

#endif
