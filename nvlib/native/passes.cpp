// The passes of nvlib/native/passes.py, for float32 and bfloat16.
typedef unsigned short u16;
typedef unsigned int u32;
typedef __PTRDIFF_TYPE__ size;
enum { WIDE = 8192 };  // numbers of a group of rows, at most

static inline float get(float v) { return v; }
static inline float get(u16 v) {
  const u32 bits = (u32)v << 16;
  float f;
  __builtin_memcpy(&f, &bits, 4);
  return f;
}
static inline void put(float* p, float v) { *p = v; }
static inline void put(u16* p, float v) {  // to the nearest, ties to even
  u32 bits;
  __builtin_memcpy(&bits, &v, 4);
  const u32 near = (bits + 0x7FFFu + ((bits >> 16) & 1)) >> 16;
  *p = (bits & 0x7FFFFFFFu) > 0x7F800000u ? 0x7FC0 : near;
}

// how many rows make a group: enough numbers for whole vectors
static inline size group(size channels) { return channels >= 64 ? 1 : (64 + channels - 1) / channels; }
static inline void spread(float* to, const float* from, size channels, size rows) {
  for (size r = 0; r < rows; r++)
    for (size c = 0; c < channels; c++) to[r * channels + c] = from[c];
}
static inline void fold(float* sums, size channels, size rows) {
  for (size r = 1; r < rows; r++)
    for (size c = 0; c < channels; c++) sums[c] += sums[r * channels + c];
}

// what[c] = sum over rows of f(row, c), in groups of rows and four of these at a time
template <class F>
static inline void sum(float* what, size rows, size channels, F f) {
  const size many = group(channels), wide = many * channels, whole = rows / many * many * channels;
  for (size p = 0; p < wide; p++) what[p] = 0;
  size at = 0;
  for (; at + 4 * wide <= whole; at += 4 * wide)
    for (size p = 0; p < wide; p++)
      what[p] += (f(at + p, p) + f(at + wide + p, p)) + (f(at + 2 * wide + p, p) + f(at + 3 * wide + p, p));
  for (; at < whole; at += wide)
    for (size p = 0; p < wide; p++) what[p] += f(at + p, p);
  for (; at < rows * channels; at += channels)
    for (size c = 0; c < channels; c++) what[c] += f(at + c, c);
  fold(what, channels, many);
}

template <class F>
static inline void each(size rows, size channels, F f) {
  const size many = group(channels), wide = many * channels, whole = rows / many * many * channels;
  size at = 0;
  for (; at < whole; at += wide)
    for (size p = 0; p < wide; p++) f(at + p, p);
  for (; at < rows * channels; at += channels)
    for (size c = 0; c < channels; c++) f(at + c, c);
}

// moments: (blocks, 2, channels), a block's mean and its sum of squares about that
template <class T>
static void moments(const T* __restrict__ x, size rows, size channels, float* __restrict__ out) {
  static thread_local float sums[WIDE], mean[WIDE];
  sum(sums, rows, channels, [=](size i, size) { return get(x[i]); });
  for (size c = 0; c < channels; c++) out[c] = sums[c] / rows;
  spread(mean, out, channels, group(channels));
  float* const m = mean;
  sum(sums, rows, channels, [=](size i, size p) { const float d = get(x[i]) - m[p]; return d * d; });
  for (size c = 0; c < channels; c++) out[channels + c] = sums[c];
}

template <class T>
static void scaled(const T* __restrict__ x, T* __restrict__ y, size rows, size channels, const float* ab) {
  static thread_local float a_[WIDE], b_[WIDE];
  spread(a_, ab, channels, group(channels));
  spread(b_, ab + channels, channels, group(channels));
  const float *a = a_, *b = b_;
  each(rows, channels, [=](size i, size p) { put(y + i, get(x[i]) * a[p] + b[p]); });
}

// sums of g and of g (x - m): (blocks, 2, channels)
template <class T>
static void products(
    const T* __restrict__ x, const T* __restrict__ g, size rows, size channels, const float* mean, float* out) {
  static thread_local float sums[WIDE], m_[WIDE];
  spread(m_, mean, channels, group(channels));
  const float* m = m_;
  sum(sums, rows, channels, [=](size i, size) { return get(g[i]); });
  for (size c = 0; c < channels; c++) out[c] = sums[c];
  sum(sums, rows, channels, [=](size i, size p) { return get(g[i]) * (get(x[i]) - m[p]); });
  for (size c = 0; c < channels; c++) out[channels + c] = sums[c];
}

// d = a g + b (x - m) + c
template <class T>
static void slopes(
    const T* __restrict__ x, const T* __restrict__ g, T* __restrict__ d, size rows, size channels, const float* mabc) {
  static thread_local float m_[WIDE], a_[WIDE], b_[WIDE], c_[WIDE];
  float* const into[4] = {m_, a_, b_, c_};
  for (int k = 0; k < 4; k++) spread(into[k], mabc + k * channels, channels, group(channels));
  const float *m = m_, *a = a_, *b = b_, *c = c_;
  each(rows, channels, [=](size i, size p) { put(d + i, a[p] * get(g[i]) + (b[p] * (get(x[i]) - m[p]) + c[p])); });
}

enum { LONG = 1 << 15 };  // numbers of a row of an image, at most

template <class T>
static inline void widen(const T* __restrict__ from, float* __restrict__ to, size many) {
  for (size i = 0; i < many; i++) to[i] = get(from[i]);
}
template <class T>
static inline void narrow(const float* __restrict__ from, T* __restrict__ to, size many) {
  for (size i = 0; i < many; i++) put(to + i, from[i]);
}

static inline float larger(float a, float b) { return b > a || b != b ? b : a; }

// of two rows p and q, the largest of each 2 x 2
static inline __attribute__((always_inline)) void pool(
    const float* __restrict__ p, const float* __restrict__ q, float* __restrict__ out, size w, size channels) {
  for (size j = 0; j < w; j++, p += 2 * channels, q += 2 * channels, out += channels)
    for (size c = 0; c < channels; c++)
      out[c] = larger(larger(larger(p[c], p[channels + c]), q[c]), q[channels + c]);
}
// the gradient g of each 2 x 2 to the first of them that equals the largest
static inline __attribute__((always_inline)) void unpool(
    const float* __restrict__ p, const float* __restrict__ q, const float* __restrict__ best,
    const float* __restrict__ g, float* __restrict__ dp, float* __restrict__ dq, size w, size channels) {
  const size two = 2 * channels;
  for (size j = 0; j < w; j++, p += two, q += two, dp += two, dq += two, best += channels, g += channels)
    for (size c = 0; c < channels; c++) {
      const float b = best[c], first = p[c], second = p[channels + c], third = q[c];
      float left = g[c];
      dp[c] = first < b ? 0.f : left;
      left = first < b ? left : 0.f;
      dp[channels + c] = second < b ? 0.f : left;
      left = second < b ? left : 0.f;
      dq[c] = third < b ? 0.f : left;
      dq[channels + c] = third < b ? left : 0.f;
    }
}
#define NARROW(call)   switch (channels) {     case 4: { enum { C = 4 }; call; break; }     case 8: { enum { C = 8 }; call; break; }     case 16: { enum { C = 16 }; call; break; }     case 32: { enum { C = 32 }; call; break; }     default: { const size C = channels; call; }   }

template <class T>
static void pooled(const T* x, T* y, size height, size width, size channels, size from, size to) {
  static thread_local float p[LONG], q[LONG], out[LONG];
  const size h = height / 2, w = width / 2, row_ = width * channels;
  for (size row = from; row < to; row++) {  // of all images' pooled rows
    const T* top = x + (row / h * height + row % h * 2) * row_;
    widen(top, p, row_);
    widen(top + row_, q, row_);
    NARROW(pool(p, q, out, w, C))
    narrow(out, y + row * w * channels, w * channels);
  }
}

template <class T>
static void unpooled(const T* x, const T* y, const T* g, T* d, size height, size width, size channels, size from,
                     size to) {
  static thread_local float p[LONG], q[LONG], best[LONG], slope[LONG], dp[LONG], dq[LONG];
  const size h = height / 2, w = width / 2, row_ = width * channels, many = w * channels;
  if (width % 2)
    for (size i = 2 * many; i < row_; i++) dp[i] = dq[i] = 0;
  for (size row = from; row < to; row++) {
    const size at = (row / h * height + row % h * 2) * row_;
    widen(x + at, p, row_);
    widen(x + at + row_, q, row_);
    widen(y + row * many, best, many);
    widen(g + row * many, slope, many);
    NARROW(unpool(p, q, best, slope, dp, dq, w, C))
    narrow(dp, d + at, row_);
    narrow(dq, d + at + row_, row_);
    if (height % 2 && row % h == h - 1)
      for (size i = 0; i < row_; i++) d[at + 2 * row_ + i] = 0;
  }
}

// images cut out of their zero-padded selves, whole or mirrored; in: channels first, out: channels last
extern "C" void cropped(const float* x, float* y, const long long* top, const long long* left, const bool* mirrored,
                        size channels, size height, size width, size pad, size from, size to) {
  const size pixels = height * width;
  for (size i = from; i < to; i++) {
    const float* image = x + i * channels * pixels;
    float* out = y + i * channels * pixels;
    for (size r = 0; r < height; r++) {
      const size row = r + top[i] - pad;
      for (size k = 0; k < width; k++, out += channels) {
        const size column = (mirrored[i] ? width - 1 - k : k) + left[i] - pad;
        const bool inside = row >= 0 && row < height && column >= 0 && column < width;
        for (size c = 0; c < channels; c++) out[c] = inside ? image[c * pixels + row * width + column] : 0.f;
      }
    }
  }
}
// joins blocks of moments; out: mean, variance with divisor rows - 1, 1 / s; ab of `scaled`
extern "C" void joined(const float* part, size blocks, size rows, size step, size channels, const float* weight,
                       const float* bias, float eps, float* out, float* ab) {
  for (size c = 0; c < channels; c++) {
    double mean = 0, squares = 0, seen = 0;
    for (size b = 0; b < blocks; b++) {
      const double many = rows - b * step < step ? rows - b * step : step;
      const double d = part[2 * b * channels + c] - mean, all = seen + many;
      mean += d * many / all;
      squares += part[(2 * b + 1) * channels + c] + d * d * seen * many / all;
      seen = all;
    }
    const double inverse = 1 / __builtin_sqrt(squares / rows + eps), slope = weight[c] * inverse;
    out[c] = mean;
    out[channels + c] = squares / (rows > 1 ? rows - 1 : 1);
    out[2 * channels + c] = inverse;
    ab[c] = slope;
    ab[channels + c] = bias[c] - mean * slope;
  }
}
// joins blocks of products; dw, dbeta, and mabc of `slopes`
extern "C" void resolved(const float* part, size blocks, size rows, size channels, const float* weight,
                         const float* known, float* dw, float* dbeta, float* mabc) {
  for (size c = 0; c < channels; c++) {
    double g = 0, gx = 0;
    for (size b = 0; b < blocks; b++) g += part[2 * b * channels + c], gx += part[(2 * b + 1) * channels + c];
    const double inverse = known[2 * channels + c], slope = weight[c] * inverse;
    dw[c] = gx * inverse;
    dbeta[c] = g;
    mabc[c] = known[c];
    mabc[channels + c] = slope;
    mabc[2 * channels + c] = -slope * inverse * inverse * gx / rows;
    mabc[3 * channels + c] = -slope * g / rows;
  }
}

#define BOTH(T, t) \
  extern "C" void moments_##t(const T* x, size rows, size channels, size step, size from, size to, float* out) { \
    for (size b = from; b < to; b++) { \
      const size first = b * step, many = rows - first < step ? rows - first : step; \
      moments(x + first * channels, many, channels, out + 2 * b * channels); } } \
  extern "C" void scaled_##t(const T* x, T* y, size from, size to, size channels, const float* ab) { \
    scaled(x + from * channels, y + from * channels, to - from, channels, ab); } \
  extern "C" void products_##t(const T* x, const T* g, size rows, size channels, size step, size from, size to, \
                               const float* mean, float* out) { \
    for (size b = from; b < to; b++) { \
      const size first = b * step, many = rows - first < step ? rows - first : step; \
      products(x + first * channels, g + first * channels, many, channels, mean, out + 2 * b * channels); } } \
  extern "C" void slopes_##t(const T* x, const T* g, T* d, size from, size to, size channels, const float* mabc) { \
    slopes(x + from * channels, g + from * channels, d + from * channels, to - from, channels, mabc); } \
  extern "C" void pooled_##t(const T* x, T* y, size height, size width, size channels, size from, size to) { \
    pooled(x, y, height, width, channels, from, to); } \
  extern "C" void unpooled_##t(const T* x, const T* y, const T* g, T* d, size height, size width, size channels, \
                               size from, size to) { \
    unpooled(x, y, g, d, height, width, channels, from, to); } \
  extern "C" void rectified_##t(const T* __restrict__ x, T* __restrict__ y, size from, size to) { \
    for (size i = from; i < to; i++) { const float v = get(x[i]); put(y + i, v <= 0 ? 0.f : v); } } \
  extern "C" void passed_##t(const T* __restrict__ y, const T* __restrict__ g, T* __restrict__ d, size from, size to) \
    { for (size i = from; i < to; i++) put(d + i, get(y[i]) <= 0 ? 0.f : get(g[i])); } \
  extern "C" void quantised_##t(const T* __restrict__ x, T* __restrict__ y, float step, float top, size from, \
                                size to) { \
    for (size i = from; i < to; i++) { \
      const float v = get(x[i]); \
      put(y + i, __builtin_rintf((v > top ? top : v) / step) * step); } } \
  extern "C" void clipped_##t(const T* __restrict__ x, const T* __restrict__ g, T* __restrict__ d, float top, \
                              size from, size to) { \
    for (size i = from; i < to; i++) put(d + i, get(x[i]) > top ? 0.f : get(g[i])); }
BOTH(float, float32)
BOTH(u16, bfloat16)
