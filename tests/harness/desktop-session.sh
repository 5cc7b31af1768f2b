#!/bin/bash
# desktop-session.sh DIR [PART...]
# A private headless desktop: X server, session bus and window manager, and each PART asked for:
#   panel          xfce4-panel with its StatusNotifier host
#   notifications  xfce4-notifyd
#   keyring        gnome-keyring, unlocked
# Everything it writes lies in DIR. When the session is up, its variables are in DIR/env (separated
# by NUL). It lasts until stdin closes, so it cannot outlive whoever started it.
set -u

if [ "${1:-}" != --inside ]; then
  dir=$1; shift
  mkdir -p "$dir"/{home,run,config,data,cache,state,bin,services,log}
  chmod 700 "$dir/run" "$dir/home"

  # The browser of this desktop: whatever opens a URL only writes it down.
  cat > "$dir/bin/xdg-open" <<EOF
#!/bin/sh
printf '%s\n' "\$*" >> "$dir/opened-urls"
EOF
  chmod 755 "$dir/bin/xdg-open"

  # A bus that activates nothing but the settings store of the panel: a daemon that was not asked
  # for must be absent, not a D-Bus call away.
  for name in org.xfce.Xfconf ca.desrt.dconf; do
    cp "/usr/share/dbus-1/services/$name.service" "$dir/services/" 2>/dev/null
  done
  cat > "$dir/bus.conf" <<EOF
<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>session</type>
  <listen>unix:dir=$dir/run</listen>
  <auth>EXTERNAL</auth>
  <servicedir>$dir/services</servicedir>
  <policy context="default">
    <allow send_destination="*" eavesdrop="true"/>
    <allow eavesdrop="true"/>
    <allow own="*"/>
  </policy>
</busconfig>
EOF

  channels=$dir/config/xfce4/xfconf/xfce-perchannel-xml
  mkdir -p "$channels"
  cat > "$channels/xfce4-panel.xml" <<'EOF'
<?xml version="1.0" encoding="UTF-8"?>
<channel name="xfce4-panel" version="1.0">
  <property name="configver" type="int" value="2"/>
  <property name="panels" type="array">
    <value type="int" value="1"/>
    <property name="panel-1" type="empty">
      <property name="position" type="string" value="p=6;x=0;y=0"/>
      <property name="position-locked" type="bool" value="true"/>
      <property name="length" type="uint" value="100"/>
      <property name="size" type="uint" value="32"/>
      <property name="plugin-ids" type="array">
        <value type="int" value="1"/><value type="int" value="2"/><value type="int" value="3"/>
      </property>
    </property>
  </property>
  <property name="plugins" type="empty">
    <property name="plugin-1" type="string" value="tasklist"/>
    <property name="plugin-2" type="string" value="separator">
      <property name="expand" type="bool" value="true"/>
      <property name="style" type="uint" value="0"/>
    </property>
    <property name="plugin-3" type="string" value="systray"/>
  </property>
</channel>
EOF
  cat > "$channels/xfce4-notifyd.xml" <<'EOF'
<?xml version="1.0" encoding="UTF-8"?>
<channel name="xfce4-notifyd" version="1.0">
  <property name="expire-timeout-enabled" type="bool" value="false"/>
  <property name="do-fadeout" type="bool" value="false"/>
  <property name="do-slideout" type="bool" value="false"/>
  <property name="initial-opacity" type="double" value="1.0"/>
  <property name="notification-log" type="bool" value="false"/>
</channel>
EOF

  # XDG_CURRENT_DESKTOP stays unset: as XFCE it would make the real xdg-open call a helper that
  # shows a modal dialog.
  exec env -i \
    PATH="$dir/bin:$PATH" LANG=C.UTF-8 TMPDIR="${TMPDIR:-/tmp}" USER="${USER:-user}" \
    HOME="$dir/home" XDG_RUNTIME_DIR="$dir/run" XDG_CONFIG_HOME="$dir/config" \
    XDG_DATA_HOME="$dir/data" XDG_CACHE_HOME="$dir/cache" XDG_STATE_HOME="$dir/state" \
    XDG_SESSION_TYPE=x11 GDK_BACKEND=x11 NO_AT_BRIDGE=1 LIBGL_ALWAYS_SOFTWARE=1 \
    dbus-run-session --config-file="$dir/bus.conf" -- "$BASH" "$0" --inside "$dir" "$@"
fi

shift
dir=$1; shift
parts=" $* "
running=()
end() {
  trap - EXIT TERM INT HUP
  kill "${running[@]}" 2>/dev/null
  wait
}
trap end EXIT
trap 'exit 143' TERM INT HUP

start() { # NAME COMMAND...
  local name=$1; shift
  "$@" >"$dir/log/$name" 2>&1 </dev/null &
  running+=($!)
}
owned() {
  gdbus call --session -d org.freedesktop.DBus -o /org/freedesktop/DBus \
    -m org.freedesktop.DBus.NameHasOwner "$1" 2>/dev/null | grep -q true
}
await() {
  for _ in $(seq 300); do owned "$1" && return; sleep 0.05; done
  echo "desktop-session: nobody took the bus name $1" >&2
  exit 70
}
wants() { [[ $parts == *" $1 "* ]]; }
notifyd() {
  for path in /usr/lib/*/xfce4/notifyd/xfce4-notifyd /usr/libexec/xfce4-notifyd; do
    [ -x "$path" ] && { echo "$path"; return; }
  done
}

# Without -noreset the server starts anew when its last client leaves, and takes along whoever comes then.
Xvfb -displayfd 3 -screen 0 1280x800x24 -nolisten tcp -noreset 3>"$dir/display" >"$dir/log/xvfb" 2>&1 </dev/null &
running+=($!)
for _ in $(seq 300); do [ -s "$dir/display" ] && break; sleep 0.05; done
[ -s "$dir/display" ] || { echo 'desktop-session: the X server did not start' >&2; exit 70; }
export DISPLAY=":$(tr -d '\n' <"$dir/display")"

dbus-update-activation-environment --all 2>/dev/null
start openbox openbox
# a window that is older than its window manager never becomes the active one
for _ in $(seq 300); do xdotool get_num_desktops >/dev/null 2>&1 && break; sleep 0.05; done
xdotool get_num_desktops >/dev/null 2>&1 || { echo 'desktop-session: openbox did not start' >&2; exit 70; }
if wants keyring; then
  gnome-keyring-daemon --unlock --components=secrets --foreground <<<'' >"$dir/log/keyring" 2>&1 &
  running+=($!)
  await org.freedesktop.secrets
fi
if wants notifications; then
  start notifyd "$(notifyd)"
  await org.freedesktop.Notifications
fi
if wants panel; then
  start panel xfce4-panel --disable-wm-check
  await org.kde.StatusNotifierWatcher
fi

env -0 >"$dir/env.part"
mv "$dir/env.part" "$dir/env"
# until stdin closes
cat >/dev/null
