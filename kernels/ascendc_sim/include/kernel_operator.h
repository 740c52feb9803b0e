// The header that a kernel includes: the interfaces of AscendC that ours uses, carried out on the CPU.
#pragma once

#include "ascendc/casts.h"
#include "ascendc/cores.h"
#include "ascendc/cube.h"
#include "ascendc/data_copy.h"
#include "ascendc/fixpipe.h"
#include "ascendc/flags.h"
#include "ascendc/queues.h"
#include "ascendc/reductions.h"
#include "ascendc/tensors.h"
#include "ascendc/vector_arithmetic.h"
