#!/usr/bin/env bash
# s3-server.sh start|gateway|stop FOLDER PORT: a throw-away S3 server, Ceph of one node in memory (Debian's ceph-mon, ceph-osd, radosgw,
# ceph-common; root). It listens on 127.0.0.1:PORT, its monitor on PORT+1 and PORT+2; access key and secret are "tester".
# "gateway" starts the gateway again after it was killed. It is the only server in Debian that honors If-None-Match.
set -euo pipefail
what=$1 folder=$2 port=$3
export CEPH_CONF=$folder/ceph.conf

gateway() {
  radosgw -c "$CEPH_CONF" -n client.rgw
  for _ in $(seq 120); do
    if (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then return; fi
    sleep 0.25
  done
  echo "radosgw does not listen on port $port" >&2
  return 1
}

case $what in
stop)
  for file in "$folder"/*.pid; do [ -e "$file" ] && kill -9 "$(cat "$file")" 2>/dev/null || true; done
  exit 0
  ;;
gateway)
  gateway
  exit 0
  ;;
esac

mkdir -p "$folder"/{mon,osd,log,rgw}
cat >"$CEPH_CONF" <<C
[global]
fsid = $(cat /proc/sys/kernel/random/uuid)
mon initial members = a
mon host = v2:127.0.0.1:$((port + 1))/0,v1:127.0.0.1:$((port + 2))/0
osd pool default size = 1
osd pool default min size = 1
mon allow pool size one = true
osd crush chooseleaf type = 0
osd pool default pg num = 4
osd pool default pgp num = 4
osd pool default pg autoscale mode = off
osd objectstore = memstore
memstore device bytes = 1073741824
ms bind ipv4 = true
public network = 127.0.0.0/8
run dir = $folder
admin socket = $folder/\$name.asok
pid file = $folder/\$name.pid
log file = $folder/log/\$name.log
mon data = $folder/mon
osd data = $folder/osd
mon data avail crit = 1
mon data avail warn = 1
mon cluster log file = $folder/log/cluster.log
crash dir = $folder/log
keyring = $folder/keyring
[client.rgw]
rgw frontends = beast endpoint=127.0.0.1:$port
rgw data = $folder/rgw
rgw dns name = localhost
rgw thread pool size = 16
rgw enable usage log = false
rgw override bucket index max shards = 1
C
fsid=$(awk '/^fsid/{print $3}' "$CEPH_CONF")
keyring=$folder/keyring
ceph-authtool -C "$keyring" --gen-key -n mon. --cap mon 'allow *' >/dev/null
ceph-authtool "$keyring" --gen-key -n client.admin --cap mon 'allow *' --cap osd 'allow *' --cap mgr 'allow *'
ceph-authtool "$keyring" --gen-key -n client.rgw --cap mon 'allow *' --cap osd 'allow *'
ceph-authtool "$keyring" --gen-key -n osd.0 --cap mon 'allow profile osd' --cap osd 'allow *'
monmaptool --create --clobber --fsid "$fsid" --addv a "[v2:127.0.0.1:$((port + 1)),v1:127.0.0.1:$((port + 2))]" "$folder/monmap" >/dev/null
ceph-mon -c "$CEPH_CONF" -i a --mkfs --monmap "$folder/monmap" --keyring "$keyring"
ceph-mon -c "$CEPH_CONF" -i a
osd=$(cat /proc/sys/kernel/random/uuid)
ceph -c "$CEPH_CONF" osd new "$osd" >/dev/null
ceph -c "$CEPH_CONF" auth import -i "$keyring" 2>/dev/null
ceph-osd -c "$CEPH_CONF" -i 0 --mkfs --osd-uuid "$osd" 2>/dev/null
ceph-osd -c "$CEPH_CONF" -i 0 2>/dev/null
radosgw-admin -c "$CEPH_CONF" user create --uid=tester --display-name=tester --access-key=tester --secret-key=tester >/dev/null
gateway
