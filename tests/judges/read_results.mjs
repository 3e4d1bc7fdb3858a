// What dcmjs reads in result objects, as one JSON array on standard output: node read_results.mjs FILE ...
import { readFileSync } from "node:fs";
import dcmjs from "dcmjs";

const { BitArray, DicomMessage, DicomMetaDictionary } = dcmjs.data;

// dcmjs gives a lone value bare or as an array of one, depending on its VR.
const first = (value) => (Array.isArray(value) ? value[0] : value);
const single = (value) => (Array.isArray(value) && value.length === 1 ? value[0] : value);
const list = (value) => (value === undefined ? [] : Array.from(value));

function code(sequence) {
    const item = list(sequence)[0];
    return item ? [item.CodeValue ?? item.LongCodeValue, item.CodingSchemeDesignator, item.CodeMeaning] : null;
}

function contentItem(item, path) {
    const found = { path, type: item.ValueType, name: code(item.ConceptNameCodeSequence) };
    if (item.ValueType === "NUM") {
        const measured = list(item.MeasuredValueSequence)[0];
        found.value = measured ? Number(first(measured.NumericValue)) : null;
        found.unit = measured ? code(measured.MeasurementUnitsCodeSequence) : null;
    } else if (item.ValueType === "CODE") {
        found.value = code(item.ConceptCodeSequence);
    } else if (item.ValueType === "TEXT") {
        found.value = first(item.TextValue);
    }
    const reference = list(item.ReferencedSOPSequence)[0];
    if (reference) {
        const segments = reference.ReferencedSegmentNumber;
        found.refers = [reference.ReferencedSOPInstanceUID, ...(segments === undefined ? [] : [single(segments)])];
    }
    return found;
}

function content(item, path = "1") {
    const below = list(item.ContentSequence).flatMap((child, at) => content(child, `${path}.${at + 1}`));
    return [contentItem(item, path), ...below];
}

function segments(dataset, pixels) {
    const shared = list(dataset.SharedFunctionalGroupsSequence)[0];
    const measures = list(shared.PixelMeasuresSequence)[0];
    const [rowMm, columnMm] = list(measures.PixelSpacing).map(Number);
    const voxelMl = (rowMm * columnMm * Number(first(measures.SpacingBetweenSlices))) / 1000;
    const counts = {};
    for (const item of list(dataset.SegmentSequence)) {
        counts[item.SegmentNumber] = { label: item.SegmentLabel, frames: 0, voxels: 0 };
    }
    const count = dataset.SegmentationType === "LABELMAP" ? countLabels : countBits;
    count(dataset, pixels, (number, voxels) => {
        counts[number].frames += 1;
        counts[number].voxels += voxels;
    });
    for (const one of Object.values(counts)) {
        one.volumeMl = one.voxels * voxelMl;
    }
    return counts;
}

function countBits(dataset, pixels, add) {
    const size = dataset.Rows * dataset.Columns;
    const groups = list(dataset.PerFrameFunctionalGroupsSequence);
    // Eight frames begin and end with a byte, whatever their size.
    for (let start = 0; start < groups.length; start += 8) {
        const bits = BitArray.unpack(pixels.subarray((start * size) / 8, ((start + 8) * size) / 8));
        groups.slice(start, start + 8).forEach((group, at) => {
            const frame = bits.subarray(at * size, (at + 1) * size);
            const number = list(group.SegmentIdentificationSequence)[0].ReferencedSegmentNumber;
            add(first(number), frame.reduce((sum, bit) => sum + (bit ? 1 : 0), 0));
        });
    }
}

function countLabels(dataset, pixels, add) {
    const size = dataset.Rows * dataset.Columns;
    const wide = dataset.BitsAllocated === 16;
    const labels = wide ? new Uint16Array(pixels.buffer, pixels.byteOffset, pixels.length / 2) : pixels;
    for (let frame = 0; frame < Number(dataset.NumberOfFrames); frame += 1) {
        const counts = new Map();
        for (const label of labels.subarray(frame * size, (frame + 1) * size)) {
            if (label) counts.set(label, (counts.get(label) ?? 0) + 1);
        }
        counts.forEach((voxels, label) => add(label, voxels));
    }
}

function read(path) {
    const file = readFileSync(path);
    const bytes = file.buffer.slice(file.byteOffset, file.byteOffset + file.byteLength);
    const dataset = DicomMetaDictionary.naturalizeDataset(DicomMessage.readFile(bytes).dict);
    const bulk = first(dataset.PixelData ?? dataset.EncapsulatedDocument);
    const name = list(dataset.PatientName)[0] ?? {};
    return {
        sopInstanceUID: dataset.SOPInstanceUID,
        patientName: ["Alphabetic", "Ideographic", "Phonetic"].map((group) => name[group] ?? ""),
        bulkBytes: bulk ? bulk.byteLength : 0,
        content: dataset.ContentSequence ? content(dataset) : [],
        segments: dataset.SegmentSequence ? segments(dataset, new Uint8Array(bulk)) : {},
    };
}

console.log(JSON.stringify(process.argv.slice(2).map(read)));
