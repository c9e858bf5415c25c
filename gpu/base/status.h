#pragma once

#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

// Early return on a failed absl::Status.  Abseil 20220623 has no such macros.

#define WINNOW_CONCAT_INNER(a, b) a##b
#define WINNOW_CONCAT(a, b) WINNOW_CONCAT_INNER(a, b)

// Evaluates `expression`, an absl::Status, and returns it if it is not OK.
#define WINNOW_RETURN_IF_ERROR(expression)     \
  do {                                         \
    absl::Status winnow_status = (expression); \
    if (!winnow_status.ok()) {                 \
      return winnow_status;                    \
    }                                          \
  } while (false)

// Evaluates `expression`, an absl::StatusOr<T>; assigns its value to `lhs`
// (which may be a declaration) or returns its status.
#define WINNOW_ASSIGN_OR_RETURN(lhs, expression)                            \
  WINNOW_ASSIGN_OR_RETURN_INNER(WINNOW_CONCAT(winnow_status_or_, __LINE__), \
                                lhs, expression)

// `lhs` may be a declaration, which parentheses would break.
// NOLINTBEGIN(bugprone-macro-parentheses)
#define WINNOW_ASSIGN_OR_RETURN_INNER(holder, lhs, expression) \
  auto holder = (expression);                                  \
  if (!holder.ok()) {                                          \
    return std::move(holder).status();                         \
  }                                                            \
  lhs = *std::move(holder)
// NOLINTEND(bugprone-macro-parentheses)
