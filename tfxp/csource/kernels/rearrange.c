/* Operators that move codes and compute nothing. */
#include "tfxp_kernels.h"

void tfxp_copy(int32_t size, const int8_t *input, int8_t *output) {
  for (int32_t i = 0; i < size; ++i) {
    output[i] = input[i];
  }
}

void tfxp_fill(int32_t size, int32_t code, int8_t *output) {
  for (int32_t i = 0; i < size; ++i) {
    output[i] = (int8_t)code;
  }
}

void tfxp_move(const tfxp_moves *moves, const int8_t *input, int8_t *output) {
  int32_t step[TFXP_AXES] = {0};
  const int32_t last = moves->rank - 1;
  const int32_t size = moves->axes[last].size, from_step = moves->axes[last].from;
  const int32_t to_step = moves->axes[last].to, *places = moves->axes[last].places;
  for (int32_t axis = 0; axis >= 0;) {
    int32_t from = moves->from, to = moves->to;
    for (int32_t a = 0; a < last; ++a) {
      const int32_t *outer = moves->axes[a].places;
      from += outer ? outer[step[a]] : step[a] * moves->axes[a].from;
      to += step[a] * moves->axes[a].to;
    }
    for (int32_t i = 0; i < size; ++i) {
      output[to + i * to_step] = input[from + (places ? places[i] : i * from_step)];
    }
    /* the next step of the innermost outer axis that has one; those behind it start again */
    for (axis = last - 1; axis >= 0 && ++step[axis] == moves->axes[axis].size; --axis) {
      step[axis] = 0;
    }
  }
}

void tfxp_gather(int32_t rows, int32_t width, const int8_t *table, int32_t size,
                 const int32_t *indices, int8_t *output) {
  for (int32_t i = 0; i < size; ++i) {
    const int32_t index = indices[i] < 0 ? 0 : indices[i] >= rows ? rows - 1 : indices[i];
    tfxp_copy(width, table + index * width, output + i * width);
  }
}
