/* Convolutions: plain, grouped, depthwise, transposed; a dense layer is one of a single pixel. */
#include "tfxp_kernels.h"

/* The input column that a tap reads for an output column; -1 beyond the border. */
static int32_t column_of(const tfxp_convolution *layer, int32_t x, int32_t tap) {
  const tfxp_axis *axis = &layer->columns;
  const int32_t column = x * axis->stride + tap * axis->dilation - axis->pad;
  return column < 0 || column >= layer->input.width ? -1 : column;
}

/* Adds the products of one tap and one input channel: `count` outputs of every pixel in a row. */
static void add_products(const tfxp_convolution *layer, const int8_t *input_row, int32_t tap,
                         int32_t channel, const int8_t *weights, int32_t count, int32_t *sums) {
  for (int32_t x = 0; x < layer->output.width; ++x) {
    const int32_t column = column_of(layer, x, tap);
    if (column < 0) {
      continue;
    }
    const int32_t value = input_row[column * layer->input.channels + channel] - layer->input_zero;
#if TFXP_SKIP_ZEROS
    if (value == 0) {
      continue;
    }
#endif
    int32_t *sum = sums + x * layer->output.channels;
    for (int32_t o = 0; o < count; ++o) {
      sum[o] += value * weights[o];
    }
  }
}

/* The same for a depthwise layer, whose channels meet `count` weights each. */
static void add_depthwise(const tfxp_convolution *layer, const int8_t *input_row, int32_t tap,
                          const int8_t *weights, int32_t count, int32_t *sums) {
  for (int32_t x = 0; x < layer->output.width; ++x) {
    const int32_t column = column_of(layer, x, tap);
    if (column < 0) {
      continue;
    }
    const int8_t *pixel = input_row + column * layer->input.channels;
    int32_t *sum = sums + x * layer->output.channels;
    for (int32_t o = 0; o < layer->output.channels; ++o) {
      sum[o] += (pixel[count == 1 ? o : o / count] - layer->input_zero) * weights[o];
    }
  }
}

/* All products of one tap with one row of the input. */
static void add_tap(const tfxp_convolution *layer, const int8_t *input_row, int32_t row_tap,
                    int32_t tap, int32_t *sums, int8_t *weights) {
  const int32_t all = layer->output.channels;
  const int32_t outputs = all / layer->groups;
  const int32_t inputs = layer->input.channels / layer->groups;
  for (int32_t c = 0; c < inputs; ++c) {
    const int32_t place = ((row_tap * layer->columns.taps + tap) * inputs + c) * all;
    tfxp_unpack(layer->weights, (uint32_t)place, all, weights);
    if (inputs == 1 && layer->groups > 1) {
      add_depthwise(layer, input_row, tap, weights, outputs, sums);
      continue;
    }
    for (int32_t g = 0; g < layer->groups; ++g) {
      add_products(layer, input_row, tap, g * inputs + c, weights + g * outputs, outputs,
                   sums + g * outputs);
    }
  }
}

static void start_row(const tfxp_convolution *layer, int32_t *sums) {
  const int32_t all = layer->output.channels;
  for (int32_t x = 0; x < layer->output.width; ++x) {
    for (int32_t o = 0; o < all; ++o) {
      sums[x * all + o] = layer->bias[o];
    }
  }
}

static int8_t *finish_row(const tfxp_convolution *layer, const int32_t *sums, int8_t *output) {
  for (int32_t x = 0; x < layer->output.width; ++x) {
    for (int32_t o = 0; o < layer->output.channels; ++o) {
      *output++ = tfxp_requantize(&layer->requantizer, o, *sums++);
    }
  }
  return output;
}

void tfxp_convolve(const tfxp_convolution *layer, const int8_t *input, int8_t *output,
                   int32_t *sums, int8_t *weights) {
  for (int32_t y = 0; y < layer->output.height; ++y) {
    start_row(layer, sums);
    for (int32_t t = 0; t < layer->rows.taps; ++t) {
      const int32_t line = y * layer->rows.stride + t * layer->rows.dilation - layer->rows.pad;
      if (line < 0 || line >= layer->input.height) {
        continue; /* taps beyond the border read zero */
      }
      const int8_t *input_row = input + line * layer->input.width * layer->input.channels;
      for (int32_t tap = 0; tap < layer->columns.taps; ++tap) {
        add_tap(layer, input_row, t, tap, sums, weights);
      }
    }
    output = finish_row(layer, sums, output);
  }
}

/* All products of one tap with one row of the input, each added where the tap points to. */
static void scatter_tap(const tfxp_convolution *layer, const int8_t *input_row, int32_t row_tap,
                        int32_t tap, int32_t *sums, int8_t *weights) {
  const int32_t all = layer->output.channels, inputs = layer->input.channels;
  for (int32_t c = 0; c < inputs; ++c) {
    const int32_t place = ((row_tap * layer->columns.taps + tap) * inputs + c) * all;
    tfxp_unpack(layer->weights, (uint32_t)place, all, weights);
    for (int32_t x = 0; x < layer->input.width; ++x) {
      const int32_t column = x * layer->columns.stride + tap - layer->columns.pad;
      const int32_t value = input_row[x * inputs + c] - layer->input_zero;
      if (column < 0 || column >= layer->output.width || (TFXP_SKIP_ZEROS && value == 0)) {
        continue;
      }
      for (int32_t o = 0; o < all; ++o) {
        sums[column * all + o] += value * weights[o];
      }
    }
  }
}

void tfxp_transpose_convolve(const tfxp_convolution *layer, const int8_t *input, int8_t *output,
                             int32_t *sums, int8_t *weights) {
  for (int32_t y = 0; y < layer->output.height; ++y) {
    start_row(layer, sums);
    for (int32_t t = 0; t < layer->rows.taps; ++t) {
      const int32_t scaled = y + layer->rows.pad - t;
      const int32_t line = scaled / layer->rows.stride;
      if (scaled < 0 || scaled % layer->rows.stride != 0 || line >= layer->input.height) {
        continue; /* no input row comes here by this tap */
      }
      const int8_t *input_row = input + line * layer->input.width * layer->input.channels;
      for (int32_t tap = 0; tap < layer->columns.taps; ++tap) {
        scatter_tap(layer, input_row, t, tap, sums, weights);
      }
    }
    output = finish_row(layer, sums, output);
  }
}
