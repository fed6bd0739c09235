/* The loss's passes for x86-64-v3 (AVX2). */
#define LP_TABLE kn_cpu_loss_ops_v3
#define LP_NAME "x86-64-v3"
#include "kernels/cpu/loss_isa.h"
#include "kernels/cpu/loss_pass.inc"
