/* The registry of slide drivers, in the order in which they are asked. */
#include "wsi/slide/driver.h"

const wsi_driver *const wsi_drivers[] = {
    &wsi_driver_openslide,
    &wsi_driver_image,
    NULL,
};
