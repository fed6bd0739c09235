/* Union-find over rows: a pixel joins its neighbours to the left and above of the same class. */
#include "train/ssl/components.h"

#include "base/classes.h"

#include <glib.h>

static int32_t root_of(int32_t *parent, int32_t i)
{
    while (parent[i] != i)
        i = parent[i] = parent[parent[i]];
    return i;
}

static void join(int32_t *parent, int32_t a, int32_t b)
{
    a = root_of(parent, a);
    b = root_of(parent, b);
    if (a < b) /* the root is the first pixel in row order */
        parent[b] = a;
    else
        parent[a] = b;
}

static void label_image(const uint8_t *y, int h, int w, int32_t *parent)
{
    static const int steps[4][2] = {{-1, 0}, {-1, -1}, {0, -1}, {1, -1}};
    for (int i = 0; i < h; i++)
        for (int j = 0; j < w; j++) {
            int32_t at = i * w + j;
            parent[at] = at;
            for (int k = 0; y[at] > 0 && k < 4; k++) {
                int x = j + steps[k][0], row = i + steps[k][1];
                if (x >= 0 && x < w && row >= 0 && y[row * w + x] == y[at])
                    join(parent, row * w + x, at);
            }
        }
}

void ssl_largest_components(uint8_t *y, int n, int h, int w, int n_classes)
{
    int px = h * w;
    g_autofree int32_t *parent = g_new(int32_t, px), *size = g_new(int32_t, px);
    for (int k = 0; k < n; k++, y += px) {
        int32_t best[QS_CLASSES_MAX];
        label_image(y, h, w, parent);
        for (int i = 0; i < px; i++)
            size[i] = 0;
        for (int i = 0; i < px; i++)
            size[root_of(parent, i)]++;
        for (int c = 0; c < n_classes; c++)
            best[c] = -1;
        for (int i = 0; i < px; i++)
            if (parent[i] == i && (best[y[i]] < 0 || size[i] > size[best[y[i]]]))
                best[y[i]] = i;
        for (int i = 0; i < px; i++)
            parent[i] = root_of(parent, i);
        for (int i = 0; i < px; i++)
            if (y[i] > 0 && parent[i] != best[y[i]])
                y[i] = 0;
    }
}
