// Writes JSON: just what a report of the emulator is made of.
#pragma once

#include <cstdio>
#include <string>

namespace ifa::sim {

inline std::string JsonString(const std::string &text) {
  std::string quoted = "\"";
  for (const char character : text) {
    if (character == '"' || character == '\\') quoted += '\\';
    if (static_cast<unsigned char>(character) >= 0x20) quoted += character;
  }
  return quoted + "\"";
}

inline std::string JsonValue(const std::string &text) { return JsonString(text); }
inline std::string JsonValue(const char *text) { return JsonString(text); }
inline std::string JsonValue(bool value) { return value ? "true" : "false"; }
inline std::string JsonValue(double number) {
  char text[32];
  std::snprintf(text, sizeof text, "%.17g", number);
  return text;
}
template <typename Integer>
std::string JsonValue(Integer number) {
  return std::to_string(number);
}

/// An object that is written member by member.
class JsonObject {
 public:
  template <typename Value>
  JsonObject &Add(const std::string &name, const Value &value) {
    return AddText(name, JsonValue(value));
  }
  /// A member whose value is JSON already.
  JsonObject &AddText(const std::string &name, const std::string &json) {
    text_ += (text_.empty() ? "" : ", ") + JsonString(name) + ": " + json;
    return *this;
  }
  std::string text() const { return "{" + text_ + "}"; }

 private:
  std::string text_;
};

/// An array of `write(element)`, which gives JSON.
template <typename Elements, typename Write>
std::string JsonArray(const Elements &elements, const Write &write) {
  std::string text;
  for (const auto &element : elements) {
    text += (text.empty() ? "" : ",\n") + write(element);
  }
  return "[" + text + "]";
}

}  // namespace ifa::sim
