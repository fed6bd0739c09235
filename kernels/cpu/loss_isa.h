/* The tables of the loss's passes, one per instruction set; kernels/cpu/loss.c chooses. */
#ifndef QS_KERNELS_CPU_LOSS_ISA_H
#define QS_KERNELS_CPU_LOSS_ISA_H

#include "kernels/loss/loss_priv.h"

extern const kn_loss_ops kn_cpu_loss_ops_v1;
extern const kn_loss_ops kn_cpu_loss_ops_v3;
extern const kn_loss_ops kn_cpu_loss_ops_v4;

#endif
