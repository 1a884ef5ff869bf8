import * as Menu from "@radix-ui/react-dropdown-menu";
import { t } from "../../lib/text/en";
import { IconButton } from "../../lib/ui/button";
import { Icon } from "../../lib/ui/icon";

interface ChatMenuProps {
  archived: boolean;
  onRename: () => void;
  onArchive: () => void;
  onCompact: () => void;
  onTrace: () => void;
}

export default function ChatMenu({ archived, onRename, onArchive, onCompact, onTrace }: ChatMenuProps) {
  return (
    <Menu.Root modal={false}>
      <Menu.Trigger asChild>
        <IconButton icon="more" label={t.common.more} />
      </Menu.Trigger>
      <Menu.Portal>
        <Menu.Content className="menu" align="end" sideOffset={4}>
          <Menu.Item className="menu-item" onSelect={onRename}>
            <Icon name="edit" />
            {t.chat.rename}
          </Menu.Item>
          <Menu.Item className="menu-item" onSelect={onTrace}>
            <Icon name="list" />
            {t.trace.title}
          </Menu.Item>
          <Menu.Item className="menu-item" disabled={archived} onSelect={onCompact}>
            <Icon name="output" />
            {t.chat.compact}
          </Menu.Item>
          <Menu.Item className="menu-item" onSelect={onArchive}>
            <Icon name="archive" />
            {archived ? t.chat.unarchive : t.chat.archive}
          </Menu.Item>
        </Menu.Content>
      </Menu.Portal>
    </Menu.Root>
  );
}
