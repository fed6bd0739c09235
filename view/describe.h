/* What there is, as JSON for the page. */
#ifndef QS_VIEW_DESCRIBE_H
#define QS_VIEW_DESCRIBE_H

#include "view/json.h"
#include "view/open.h"

GBytes *vw_describe_shown(const vw_shown *shown, bool annotates);
GBytes *vw_describe_slide(vw_open *open);
/* Every layer's value at a level-0 place, from the layers' bytes. */
GBytes *vw_describe_place(vw_open *open, int64_t x_l0, int64_t y_l0);

#endif
