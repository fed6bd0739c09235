/* Shared between predict.c and mask_out.c. */
#ifndef QS_INFER_PREDICT_PRIV_H
#define QS_INFER_PREDICT_PRIV_H

#include "infer/predict/predict.h"

const model *inf_predictor_model(const inf_predictor *predictor);
/* Bytes of the row buffers of inf_predict_to_tiff. */
int64_t inf_mask_rows_memory(const wsi_view *view);

#endif
