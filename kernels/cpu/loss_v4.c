/* The loss's passes for x86-64-v4 (AVX-512). */
#define LP_TABLE kn_cpu_loss_ops_v4
#define LP_NAME "x86-64-v4"
#include "kernels/cpu/loss_isa.h"
#include "kernels/cpu/loss_pass.inc"
