@0xd7a1c3b25e904f68;
# The parts of workerd's module schema that a Pyodide bundle uses.

enum ModuleType {
  bundle @0;
  builtin @1;
  internal @2;
}

struct Module {
  name @0 :Text;
  union {
    src @1 :Data;
    wasm @4 :Data;
    data @5 :Data;
    json @6 :Text;
  }
  type @2 :ModuleType;
  tsDeclaration @3 :Text;
  compileCache @7 :Data;
}

struct Bundle {
  modules @0 :List(Module);
}
