/* cudnn_plan.h where the program was built without cuDNN: there is none, and own kernels do
 * everything. */
#include "kernels/cuda/cudnn_plan.h"

#include "base/error.h"

kn_cudnn *kn_cudnn_open(kn_device *device, GError **error)
{
    (void)device;
    g_set_error(error, QS_ERROR, QS_ERROR_UNSUPPORTED,
                "cuDNN is not in this program: it was built without (cmake -DQS_CUDNN=DIR)");
    return NULL;
}

void kn_cudnn_close(kn_cudnn *cudnn)
{
    (void)cudnn;
}

int kn_cudnn_version(const kn_cudnn *cudnn)
{
    (void)cudnn;
    return 0;
}

int kn_cudnn_plans(kn_cudnn *cudnn, const kn_cudnn_shape *shape, kn_cudnn_direction direction,
                   size_t workspace_most, kn_cudnn_plan **plans, int most)
{
    (void)cudnn, (void)shape, (void)direction, (void)workspace_most, (void)plans, (void)most;
    return 0;
}

kn_cudnn_plan *kn_cudnn_plan_named(kn_cudnn *cudnn, const kn_cudnn_shape *shape,
                                   kn_cudnn_direction direction, const char *name)
{
    (void)cudnn, (void)shape, (void)direction, (void)name;
    return NULL;
}

void kn_cudnn_plan_destroy(kn_cudnn_plan *plan)
{
    (void)plan;
}

const char *kn_cudnn_plan_name(const kn_cudnn_plan *plan)
{
    (void)plan;
    return "";
}

size_t kn_cudnn_plan_workspace(const kn_cudnn_plan *plan)
{
    (void)plan;
    return 0;
}

bool kn_cudnn_run(kn_cudnn *cudnn, const kn_cudnn_plan *plan, const void *a, const void *b,
                  const void *bias, void *out, void *workspace, GError **error)
{
    (void)plan, (void)a, (void)b, (void)bias, (void)out, (void)workspace;
    kn_cudnn_close(kn_cudnn_open(NULL, error));
    (void)cudnn;
    return false;
}
