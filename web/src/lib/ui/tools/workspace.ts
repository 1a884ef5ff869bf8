/** In which workspace the tools of this chat work: where their processes can be looked at. */
import { createContext, useContext } from "react";

const Workspace = createContext<string | null>(null);

export const WorkspaceOfTools = Workspace.Provider;

export function useToolWorkspace(): string | null {
  return useContext(Workspace);
}
