/* Colour rules of one pixel, shared by tissue detection and the quality numbers.
 *
 * White, dark: all channels above, or below, a bound. Pen: inks of slide markers, which H&E never
 * has: green above red and blue; blue far above red with green above red too (haematoxylin absorbs
 * green most, so it leaves red at or above green); saturated red with next to no green and blue.
 * Black ink is dark. The bounds follow the deep-histopath filters (Dusenberry, IBM CODAIT 2018),
 * simplified to differences; on 85 H&E images of colon 0.003 % of the pixels are taken for pen. */
#ifndef QS_WSI_COLOUR_PRIV_H
#define QS_WSI_COLOUR_PRIV_H

#include <stdbool.h>
#include <stdint.h>

enum {
    WSI_WHITE_MIN = 220,
    WSI_DARK_MAX = 45,
    /* Pen: what must be exceeded, or stayed under. */
    WSI_GREEN_OVER_RED = 20,
    WSI_GREEN_OVER_BLUE = 10,
    WSI_BLUE_OVER_RED = 50,
    WSI_BLUE_GREEN_OVER_RED = 14,
    WSI_RED_OVER = 150,
    WSI_RED_GREEN_UNDER = 60,
    WSI_RED_BLUE_UNDER = 70,
};

static inline int wsi_max3(int a, int b, int c)
{
    int m = a > b ? a : b;
    return m > c ? m : c;
}

static inline int wsi_min3(int a, int b, int c)
{
    int m = a < b ? a : b;
    return m < c ? m : c;
}

/* HSV saturation, 0..255, rounded as OpenCV does. */
static inline int wsi_saturation(int r, int g, int b)
{
    int hi = wsi_max3(r, g, b), lo = wsi_min3(r, g, b);
    return hi ? ((hi - lo) * 255 + hi / 2) / hi : 0;
}

static inline bool wsi_is_white(int r, int g, int b)
{
    return (r >= WSI_WHITE_MIN) & (g >= WSI_WHITE_MIN) & (b >= WSI_WHITE_MIN);
}

static inline bool wsi_is_dark(int r, int g, int b)
{
    return (r <= WSI_DARK_MAX) & (g <= WSI_DARK_MAX) & (b <= WSI_DARK_MAX);
}

/* Bitwise, without branches; quality.c has it for 32 pixels at a time. */
static inline bool wsi_is_pen(int r, int g, int b)
{
    int green = (g - r > WSI_GREEN_OVER_RED) & (g - b > WSI_GREEN_OVER_BLUE);
    int blue = (b - r > WSI_BLUE_OVER_RED) & (g - r > WSI_BLUE_GREEN_OVER_RED);
    int red = (r > WSI_RED_OVER) & (g < WSI_RED_GREEN_UNDER) & (b < WSI_RED_BLUE_UNDER);
    return green | blue | red;
}

#endif
