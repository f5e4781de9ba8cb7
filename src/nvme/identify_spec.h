/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Identify data structures as they lie on the wire.
 *
 * NVM Express Base Specification 2.0c, "Identify command"; NVM Command Set Specification 1.0c,
 * "Identify".
 *
 * Threading: values.   Memory: values; only the codecs look inside.
 */
#ifndef NVME_IDENTIFY_SPEC_H
#define NVME_IDENTIFY_SPEC_H

#include <stdint.h>

#include "base/le.h"
#include "nvme/layout.h"

#define NVME_IDENTIFY_BYTES 4096

enum nvme_cns {
    NVME_CNS_NS = 0x00,
    NVME_CNS_CTRL = 0x01,
    NVME_CNS_NS_LIST = 0x02,
    NVME_CNS_NS_DESCRIPTORS = 0x03,
    NVME_CNS_CSI_NS = 0x05,      /* I/O command set specific namespace. */
    NVME_CNS_CSI_CTRL = 0x06,    /* I/O command set specific controller. */
    NVME_CNS_CSI_NS_LIST = 0x07, /* Active namespaces of one I/O command set. */
    NVME_CNS_NS_COMMON = 0x08,   /* I/O command set independent namespace. */
};

#define NVME_CSI_NVM 0

struct nvme_id_ctrl_spec {
    struct le16 vid;
    struct le16 ssvid;
    char sn[20];
    char mn[40];
    char fr[8];
    uint8_t rab;
    uint8_t ieee[3];
    uint8_t cmic;
    uint8_t mdts;
    struct le16 cntlid;
    struct le32 ver;
    struct le32 rtd3r;
    struct le32 rtd3e;
    struct le32 oaes;
    struct le32 ctratt;
    struct le16 rrls;
    uint8_t reserved102[9];
    uint8_t cntrltype;
    uint8_t fguid[16];
    struct le16 crdt[3];
    uint8_t reserved134[119];
    uint8_t nvmsr;
    uint8_t vwci;
    uint8_t mec;
    struct le16 oacs;
    uint8_t acl;
    uint8_t aerl;
    uint8_t frmw;
    uint8_t lpa;
    uint8_t elpe;
    uint8_t npss;
    uint8_t avscc;
    uint8_t apsta;
    struct le16 wctemp;
    struct le16 cctemp;
    struct le16 mtfa;
    struct le32 hmpre;
    struct le32 hmmin;
    uint8_t tnvmcap[16];
    uint8_t unvmcap[16];
    struct le32 rpmbs;
    struct le16 edstt;
    uint8_t dsto;
    uint8_t fwug;
    struct le16 kas;
    struct le16 hctma;
    struct le16 mntmt;
    struct le16 mxtmt;
    struct le32 sanicap;
    struct le32 hmminds;
    struct le16 hmmaxd;
    struct le16 nsetidmax;
    struct le16 endgidmax;
    uint8_t anatt;
    uint8_t anacap;
    struct le32 anagrpmax;
    struct le32 nanagrpid;
    struct le32 pels;
    struct le16 domainid;
    uint8_t reserved358[10];
    uint8_t megcap[16];
    uint8_t reserved384[128];
    uint8_t sqes;
    uint8_t cqes;
    struct le16 maxcmd;
    struct le32 nn;
    struct le16 oncs;
    struct le16 fuses;
    uint8_t fna;
    uint8_t vwc;
    struct le16 awun;
    struct le16 awupf;
    uint8_t icsvscc;
    uint8_t nwpc;
    struct le16 acwu;
    struct le16 ocfs;
    struct le32 sgls;
    struct le32 mnan;
    uint8_t maxdna[16];
    struct le32 maxcna;
    uint8_t reserved564[204];
    char subnqn[256];
    uint8_t reserved1024[768];
    struct le32 ioccsz;
    struct le32 iorcsz;
    struct le16 icdoff;
    uint8_t fcatt;
    uint8_t msdbd;
    struct le16 ofcs;
    uint8_t dctype;
    uint8_t reserved1807[241];
    uint8_t psd[32][32];
    uint8_t vendor[1024];
};
LAYOUT_SIZE(nvme_id_ctrl_spec, NVME_IDENTIFY_BYTES);
LAYOUT_AT(nvme_id_ctrl_spec, sn, 4);
LAYOUT_AT(nvme_id_ctrl_spec, mn, 24);
LAYOUT_AT(nvme_id_ctrl_spec, fr, 64);
LAYOUT_AT(nvme_id_ctrl_spec, mdts, 77);
LAYOUT_AT(nvme_id_ctrl_spec, cntlid, 78);
LAYOUT_AT(nvme_id_ctrl_spec, ver, 80);
LAYOUT_AT(nvme_id_ctrl_spec, oaes, 92);
LAYOUT_AT(nvme_id_ctrl_spec, ctratt, 96);
LAYOUT_AT(nvme_id_ctrl_spec, cntrltype, 111);
LAYOUT_AT(nvme_id_ctrl_spec, crdt, 128);
LAYOUT_AT(nvme_id_ctrl_spec, nvmsr, 253);
LAYOUT_AT(nvme_id_ctrl_spec, oacs, 256);
LAYOUT_AT(nvme_id_ctrl_spec, aerl, 259);
LAYOUT_AT(nvme_id_ctrl_spec, lpa, 261);
LAYOUT_AT(nvme_id_ctrl_spec, elpe, 262);
LAYOUT_AT(nvme_id_ctrl_spec, wctemp, 266);
LAYOUT_AT(nvme_id_ctrl_spec, hmpre, 272);
LAYOUT_AT(nvme_id_ctrl_spec, tnvmcap, 280);
LAYOUT_AT(nvme_id_ctrl_spec, kas, 320);
LAYOUT_AT(nvme_id_ctrl_spec, sanicap, 328);
LAYOUT_AT(nvme_id_ctrl_spec, anatt, 342);
LAYOUT_AT(nvme_id_ctrl_spec, anagrpmax, 344);
LAYOUT_AT(nvme_id_ctrl_spec, domainid, 356);
LAYOUT_AT(nvme_id_ctrl_spec, megcap, 368);
LAYOUT_AT(nvme_id_ctrl_spec, sqes, 512);
LAYOUT_AT(nvme_id_ctrl_spec, maxcmd, 514);
LAYOUT_AT(nvme_id_ctrl_spec, nn, 516);
LAYOUT_AT(nvme_id_ctrl_spec, oncs, 520);
LAYOUT_AT(nvme_id_ctrl_spec, vwc, 525);
LAYOUT_AT(nvme_id_ctrl_spec, awupf, 528);
LAYOUT_AT(nvme_id_ctrl_spec, sgls, 536);
LAYOUT_AT(nvme_id_ctrl_spec, mnan, 540);
LAYOUT_AT(nvme_id_ctrl_spec, subnqn, 768);
LAYOUT_AT(nvme_id_ctrl_spec, ioccsz, 1792);
LAYOUT_AT(nvme_id_ctrl_spec, icdoff, 1800);
LAYOUT_AT(nvme_id_ctrl_spec, fcatt, 1802);
LAYOUT_AT(nvme_id_ctrl_spec, ofcs, 1804);
LAYOUT_AT(nvme_id_ctrl_spec, dctype, 1806);
LAYOUT_AT(nvme_id_ctrl_spec, psd, 2048);
LAYOUT_AT(nvme_id_ctrl_spec, vendor, 3072);

/* What ours says in its vendor's bytes, where it takes a vendor's commands; zeros elsewhere. */
struct nvme_id_vendor_spec {
    struct le16 reactors; /* That serve I/O queues. */
    uint8_t reserved[1022];
};
LAYOUT_SIZE(nvme_id_vendor_spec, 1024);

#define NVME_CTRL_CMIC_MULTI_PORT 0x01
#define NVME_CTRL_CMIC_MULTI_CTRL 0x02
#define NVME_CTRL_TYPE_IO         1
#define NVME_CTRL_TYPE_DISCOVERY  2
#define NVME_CTRL_ATTR_HID128     UINT32_C(0x01) /* 128-bit host identifiers. */
#define NVME_CTRL_LPA_EFFECTS     0x02
#define NVME_CTRL_LPA_EXTENDED    0x04 /* Log page offset and 32-bit lengths. */
#define NVME_CTRL_ONCS_COMPARE    0x0001
#define NVME_CTRL_ONCS_DSM        0x0004
#define NVME_CTRL_ONCS_ZEROES     0x0008
#define NVME_CTRL_ONCS_TIMESTAMP  0x0040
#define NVME_CTRL_ONCS_VERIFY     0x0080
#define NVME_CTRL_ONCS_COPY       0x0100
#define NVME_CTRL_OCFS_FORMAT_0   0x0001
#define NVME_CTRL_VWC_PRESENT     0x01
#define NVME_CTRL_VWC_FLUSH_ALL   0x06 /* Bits 2:1 = 11b: Flush takes NSID FFFFFFFFh. */
#define NVME_CTRL_SGLS_SUPPORTED  UINT32_C(0x00000001)
#define NVME_CTRL_SGLS_OFFSET     UINT32_C(0x00100000) /* An address may be an offset. */
#define NVME_CTRL_SGLS_TRANSPORT  UINT32_C(0x00200000) /* Transport SGL Data Block. */

struct nvme_lbaf_spec {
    struct le16 ms;
    uint8_t lbads; /* Log2 of the LBA size. */
    uint8_t rp;
};
LAYOUT_SIZE(nvme_lbaf_spec, 4);

struct nvme_id_ns_spec {
    struct le64 nsze;
    struct le64 ncap;
    struct le64 nuse;
    uint8_t nsfeat;
    uint8_t nlbaf;
    uint8_t flbas;
    uint8_t mc;
    uint8_t dpc;
    uint8_t dps;
    uint8_t nmic;
    uint8_t rescap;
    uint8_t fpi;
    uint8_t dlfeat;
    struct le16 nawun;
    struct le16 nawupf;
    struct le16 nacwu;
    struct le16 nabsn;
    struct le16 nabo;
    struct le16 nabspf;
    struct le16 noiob;
    uint8_t nvmcap[16];
    struct le16 npwg;
    struct le16 npwa;
    struct le16 npdg;
    struct le16 npda;
    struct le16 nows;
    struct le16 mssrl;
    struct le32 mcl;
    uint8_t msrc;
    uint8_t reserved81[11];
    struct le32 anagrpid;
    uint8_t reserved96[3];
    uint8_t nsattr;
    struct le16 nvmsetid;
    struct le16 endgid;
    uint8_t nguid[16];
    uint8_t eui64[8];
    struct nvme_lbaf_spec lbaf[64];
    uint8_t vendor[3712];
};
LAYOUT_SIZE(nvme_id_ns_spec, NVME_IDENTIFY_BYTES);
LAYOUT_AT(nvme_id_ns_spec, nsfeat, 24);
LAYOUT_AT(nvme_id_ns_spec, flbas, 26);
LAYOUT_AT(nvme_id_ns_spec, nmic, 30);
LAYOUT_AT(nvme_id_ns_spec, dlfeat, 33);
LAYOUT_AT(nvme_id_ns_spec, nawupf, 36);
LAYOUT_AT(nvme_id_ns_spec, noiob, 46);
LAYOUT_AT(nvme_id_ns_spec, npwg, 64);
LAYOUT_AT(nvme_id_ns_spec, nows, 72);
LAYOUT_AT(nvme_id_ns_spec, anagrpid, 92);
LAYOUT_AT(nvme_id_ns_spec, nsattr, 99);
LAYOUT_AT(nvme_id_ns_spec, nguid, 104);
LAYOUT_AT(nvme_id_ns_spec, eui64, 120);
LAYOUT_AT(nvme_id_ns_spec, lbaf, 128);
LAYOUT_AT(nvme_id_ns_spec, vendor, 384);

#define NVME_NS_FEAT_THIN      0x01
#define NVME_NS_FEAT_ATOMIC    0x02 /* NAWUN, NAWUPF and NACWU are defined. */
#define NVME_NS_FEAT_OPTPERF   0x10 /* NPWG, NPWA, NPDG, NPDA and NOWS are defined. */
#define NVME_NS_NMIC_SHARED    0x01
#define NVME_NS_DLFEAT_ZEROES  0x01 /* Deallocated blocks read as zeros ... */
#define NVME_NS_DLFEAT_WZ_DEAC 0x08 /* ... and Write Zeroes may deallocate. */

/* I/O command set independent: CNS 08h. */
struct nvme_id_ns_common_spec {
    uint8_t nsfeat;
    uint8_t nmic;
    uint8_t rescap;
    uint8_t fpi;
    struct le32 anagrpid;
    uint8_t nsattr;
    uint8_t reserved9;
    struct le16 nvmsetid;
    struct le16 endgid;
    uint8_t nstat;
    uint8_t reserved15[4081];
};
LAYOUT_SIZE(nvme_id_ns_common_spec, NVME_IDENTIFY_BYTES);
LAYOUT_AT(nvme_id_ns_common_spec, anagrpid, 4);
LAYOUT_AT(nvme_id_ns_common_spec, nstat, 14);

#define NVME_NS_NSTAT_READY 0x01

/* NVM command set, controller: CNS 06h, CSI 0. */
struct nvme_id_ctrl_nvm_spec {
    uint8_t vsl;
    uint8_t wzsl;
    uint8_t wusl;
    uint8_t dmrl;
    struct le32 dmrsl;
    struct le64 dmsl;
    uint8_t reserved16[4080];
};
LAYOUT_SIZE(nvme_id_ctrl_nvm_spec, NVME_IDENTIFY_BYTES);
LAYOUT_AT(nvme_id_ctrl_nvm_spec, dmrsl, 4);
LAYOUT_AT(nvme_id_ctrl_nvm_spec, dmsl, 8);

/* One entry of the Namespace Identification Descriptor list; nidl bytes follow. */
struct nvme_ns_descriptor_spec {
    uint8_t nidt;
    uint8_t nidl;
    uint8_t reserved2[2];
};
LAYOUT_SIZE(nvme_ns_descriptor_spec, 4);

#define NVME_NIDT_NGUID 2
#define NVME_NIDT_UUID  3
#define NVME_NIDT_CSI   4

#endif
