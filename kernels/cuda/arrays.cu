/* Passes over flat arrays: SGD with momentum, Adam, the teacher's moving average (E15), folding of
 * BatchNorm for inference. One thread an element. */
#include "kernels/cuda/lang.cuh"

__global__ void sgd(float *theta, const float *grad, float *momentum, int64_t n, float lr,
                    const float *lr_at, float m, float wd)
{
    float rate = lr_at ? *lr_at : lr;
    for (int64_t i = KN_THREAD; i < n; i += KN_THREADS) {
        float v = m * momentum[i] + (grad[i] + wd * theta[i]);
        momentum[i] = v;
        theta[i] = theta[i] - rate * v;
    }
}

__global__ void ema(float *teacher, const float *student, int64_t n, float alpha,
                    const float *alpha_at)
{
    float a = alpha_at ? *alpha_at : alpha;
    for (int64_t i = KN_THREAD; i < n; i += KN_THREADS)
        teacher[i] = a * teacher[i] + (1.0f - a) * student[i];
}

__global__ void sgd_ema(float *theta, const float *grad, float *momentum, float *teacher, int64_t n,
                        float lr, float m, float wd, float alpha)
{
    for (int64_t i = KN_THREAD; i < n; i += KN_THREADS) {
        float v = m * momentum[i] + (grad[i] + wd * theta[i]), w = theta[i] - lr * v;
        momentum[i] = v;
        theta[i] = w;
        teacher[i] = alpha * teacher[i] + (1.0f - alpha) * w;
    }
}

__global__ void adam(float *theta, const float *grad, float *mean, float *square, int64_t n,
                     float lr, float wd, float by_mean, float by_square)
{
    for (int64_t i = KN_THREAD; i < n; i += KN_THREADS) {
        float g = grad[i] + wd * theta[i];
        float m = 0.9f * mean[i] + 0.1f * g, v = 0.999f * square[i] + 0.001f * g * g;
        mean[i] = m;
        square[i] = v;
        theta[i] -= lr * (m * by_mean) / (sqrtf(v * by_square) + 1e-8f);
    }
}

__global__ void fold(int oc, int64_t per_oc, const float *weight, const float *bias,
                     const float *gamma, const float *beta, const float *mean, const float *var,
                     float *weight_out, float *bias_out)
{
    for (int64_t i = KN_THREAD; i < oc * per_oc; i += KN_THREADS) {
        int o = (int)(i / per_oc);
        double s = (double)gamma[o] / sqrt((double)var[o] + 1e-5);
        weight_out[i] = (float)(s * (double)weight[i]);
        if (i % per_oc == 0)
            bias_out[o] = (float)(s * ((double)bias[o] - (double)mean[o]) + (double)beta[o]);
    }
}

/* ---- from C
 * -------------------------------------------------------------------------------------- */

void kn_cu_sgd(kn_device *device, float *theta, const float *grad, float *momentum, int64_t n,
               float lr, const float *lr_at, float m, float wd)
{
    KN_LAUNCH(device, sgd, kn_grid(n, KN_CU_BLOCK, 1 << 20), KN_CU_BLOCK, theta, grad, momentum, n,
              lr, lr_at, m, wd);
}

void kn_cu_sgd_ema(kn_device *device, float *theta, const float *grad, float *momentum,
                   float *teacher, int64_t n, float lr, float m, float wd, float alpha)
{
    KN_LAUNCH(device, sgd_ema, kn_grid(n, KN_CU_BLOCK, 1 << 20), KN_CU_BLOCK, theta, grad, momentum,
              teacher, n, lr, m, wd, alpha);
}

void kn_cu_ema(kn_device *device, float *teacher, const float *student, int64_t n, float alpha,
               const float *alpha_at)
{
    KN_LAUNCH(device, ema, kn_grid(n, KN_CU_BLOCK, 1 << 20), KN_CU_BLOCK, teacher, student, n,
              alpha, alpha_at);
}

void kn_cu_adam(kn_device *device, float *theta, const float *grad, float *mean, float *square,
                int64_t n, float lr, float wd, float by_mean, float by_square)
{
    KN_LAUNCH(device, adam, kn_grid(n, KN_CU_BLOCK, 1 << 20), KN_CU_BLOCK, theta, grad, mean,
              square, n, lr, wd, by_mean, by_square);
}

void kn_cu_fold(kn_device *device, int oc, int64_t per_oc, const float *weight, const float *bias,
                const float *gamma, const float *beta, const float *mean, const float *var,
                float *weight_out, float *bias_out)
{
    KN_LAUNCH(device, fold, kn_grid(oc * per_oc, KN_CU_BLOCK, 1 << 20), KN_CU_BLOCK, oc, per_oc,
              weight, bias, gamma, beta, mean, var, weight_out, bias_out);
}
